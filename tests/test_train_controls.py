"""Both stages on records and normal pictures, with a tiny model: what each step learns from and what is logged."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composed import composed
from conftest import make_record
from PIL import Image

from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.sft import AbnormalAwareTuning
from umed.records import Record, read_records
from umed.run_files import read_jsonl, write_jsonl, write_roots
from umed.tasks.train import train


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder: records of one source, and normal pictures of it in a source of their own."""
    pixels = np.random.default_rng(0)

    def draw(number: int, name: str, split: str, **changes: Any) -> Record:
        record = replace(make_record(number, 56, 56), id=name, image=f"{name}.png", group=name, split=split, **changes)
        Image.fromarray(pixels.integers(0, 256, (56, 56, 3), dtype=np.uint8)).save(tmp_path / record.image)
        return record

    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    normal: dict[str, Any] = {
        "source": "synthetic_controls", "boxes": (), "category": "no finding", "query": "", "diagnosis": ""
    }  # fmt: skip
    run = tmp_path / "run"
    write_jsonl(run / "records.jsonl", (draw(k, f"r{k}", split).to_json() for k, split in enumerate(splits)))
    write_jsonl(run / "controls.jsonl", (draw(k, f"n{k}", split, **normal).to_json() for k, split in enumerate(splits)))
    write_roots(run, {"synthetic": tmp_path, "synthetic_controls": tmp_path})
    return run


@pytest.mark.parametrize(("reward_term", "logger"), [("credit", "csv"), ("differentiable", "wandb")])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice, silenced by tasks.quiet
def test_both_stages_learn_from_normal_pictures(
    folder: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward_term: str, logger: str
) -> None:
    seen: dict[str, list[Any]] = {"sft": [], "aar": []}
    for kind, name in ((AbnormalAwareTuning, "sft"), (AbnormalAwareRewarding, "aar")):
        step = kind.training_step

        def watch(self: Any, batch: Any, number: int, step: Any = step, name: str = name) -> Any:
            returned = step(self, batch, number)
            seen[name].append((batch, returned))
            return returned

        monkeypatch.setattr(kind, "training_step", watch)
    small = [
        "task=train", f"model.path={tiny_folder}", "~model.processor.step", f"logger={logger}", "data/benchmark=[]",
        "data.controls=0.5", "method.batch_size=4", "method.max_new_tokens=4", "method.steps=2", "method.epochs=null",
        "method.val_samples=2", "data.evaluate.sanity=[]", "data.augment.horizontal_flip=1",
    ]  # fmt: skip
    train(composed("method=sft", f"paths.run_dir={folder}", *small))
    aar = tmp_path / "aar"
    start = [f"init_from={folder / 'adapter'}", f"records={folder / 'records.jsonl'}", f"paths.run_dir={aar}"]
    train(composed("method=aar", "method.num_candidates=2", f"objective.reward_term={reward_term}", *start, *small))

    asked = Counter(prompt.record.id for batch, _ in seen["sft"] for prompt in batch)
    assert asked == {f"{kind}{k}": 1 for kind in "rn" for k in range(4)}  # one pass over 4 records and 4 controls
    for batch, _ in seen["sft"]:
        for p in batch:
            assert len(p.answer) > 1
            assert set(p.others) == {"stone", "cyst", "lung nodule"} - {p.record.category}
            assert p.gold.startswith("The image is normal.") == (not p.record.boxes)
    rollouts = [output for _, output in seen["aar"]]
    for output in rollouts:
        training, scored = output["batch"], output["scored"]
        normal = torch.tensor([not r.boxes for r in training.records]).repeat_interleave(2)
        assert torch.equal(scored.raw["vision_relevance"].isnan(), normal) and scored.total_B.isfinite().all()
        drew = torch.tensor([boxes != [] for boxes in training.boxes])
        assert torch.equal(scored.raw["localization"][normal] == 0, drew[normal])
        assert training.mask_BT.any(1).all()  # no answer has left the loss
    assert any(not r.boxes for output in rollouts for r in output["batch"].records)
    for run, stage in ((folder, "sft"), (aar, "aar")):
        rows = list(csv.DictReader((run / "logs" / stage / "metrics.csv").read_text().splitlines()))
        [validated] = [row for row in rows if row["val/mau/iou/avg"]]
        assert 0 <= float(validated["val/mau/false_boxes/avg"]) <= 1
        assert not [name for name in validated if name.startswith("val/mau/iou") and "controls" in name]
        lines = list(read_jsonl(run / "predictions" / stage / "mau.jsonl"))
        assert [line["id"] for line in lines] == ["r6", "r7"]
        assert [line["id"] for line in read_jsonl(run / "predictions" / stage / "sanity" / "mau.controls.jsonl")] == [
            "n6",
            "n7",
        ]
        records = read_records(run / "records.jsonl")
        assert Counter((r.split, bool(r.boxes)) for r in records if not r.boxes or r.split == "test") == {
            ("train", False): 4,
            ("val", False): 2,
            ("test", True): 2,
        }
        assert json.loads((run / "adapter" / "umed.json").read_text())["stage"] == stage
