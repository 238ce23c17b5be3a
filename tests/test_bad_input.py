"""Wrong input ends with one plain line and exit code 1, before anything long begins, and nothing is lost."""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from composed import composed
from lightning.pytorch.plugins.io import TorchCheckpointIO
from PIL import Image

from umed import tasks
from umed.callbacks.checkpoints import AtomicCheckpointIO
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.load import save_adapter
from umed.models.policy import Policy
from umed.records import RecordSet
from umed.tasks import pipeline


def refused(capsys: pytest.CaptureFixture[str], run_dir: Path, *overrides: str) -> str:
    """Run a task that must be refused; the one line it prints."""
    small = ["limits.batches=2", "limits.eval_samples=8"]  # of what is asked before it is refused
    cfg = composed(f"paths.run_dir={run_dir}", *small, *overrides)
    with pytest.raises(SystemExit) as stop:
        tasks.run(cfg)
    assert stop.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and "Traceback" not in "".join(lines)
    return lines[-1]


def coco(root: Path, **changes: object) -> Path:
    (root / "images").mkdir(parents=True)
    for i in range(4):
        Image.effect_noise((60 + i, 50), 40).save(root / "images" / f"{i}.png")
    images = [
        {"id": i, "file_name": f"images/{i}.png", "width": 60 + i, "height": 50, "modality": "CT"} for i in range(4)
    ]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 20, 20]} for i in range(4)]
    data = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "mass"}], **changes}
    (root / "annotations.json").write_text(json.dumps(data))
    return root


def folder(root: Path) -> list[str]:
    return ["task=prepare", "data/source=[folder]", f"data.source.folder.root={root}"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("annotator.base_url=http://me:hush@localhost:1/v1", "annotator.base_url holds a secret"),
        ("judge.base_url=http://me:hush@localhost:1/v1", "judge.base_url holds a secret"),
        ("annotator.base_url='http://localhost:1/v1?api_key=hush'", "annotator.base_url holds a secret"),
        ("judge.base_url='http://localhost:1/v1?api-version=2024-06-01&sig=hush'", "judge.base_url holds a secret"),
        ("judge.base_url='http://localhost:1/v1?hush'", "judge.base_url holds a secret"),
        ("+annotator.request.api_key=hush", "annotator.request.api_key holds a secret"),
        ("+judge.request.Authorization=hush", "judge.request.Authorization holds a secret"),
        ("name=sk-hush-0123456789abcdef", "name holds a secret"),
    ],
)
def test_a_secret_on_the_command_line_is_stored_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, setting: str, told: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hush-0123456789abcdef")
    line = refused(capsys, tmp_path / "run", "annotator=openai", "judge=openai", setting)
    assert told in line and "hush" not in line
    assert not (tmp_path / "run").exists()


def test_a_missing_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in refused(capsys, tmp_path / "run", *folder(tmp_path / "nowhere"))


def test_a_root_that_was_not_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, tmp_path / "run", "task=prepare", "data/source=[folder]")
    assert "data.source.folder.root" in line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"annotations": "none"}, "annotations"),
        ({"annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": "wide"}]}, "bbox"),
        ({"annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [5, 5, 200, 20]}]}, "xywh"),
        ({"annotations": [{"id": 1, "image_id": 0, "category_id": 9, "bbox": [5, 5, 20, 20]}]}, "categor"),
    ],
    ids=["wrong types", "a box that is text", "a box outside its image", "an unknown category"],
)
def test_a_wrong_coco_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], told: str
) -> None:
    line = refused(capsys, tmp_path / "run", *folder(coco(tmp_path / "data", **changes)))
    assert "annotations.json" in line and told in line.lower().replace("[x, y, w", "xywh").replace(
        "x, y, width", "xywh"
    )


def test_an_unreadable_picture_is_a_line_of_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = coco(tmp_path / "data")
    for picture in root.glob("images/*.png"):
        picture.write_bytes(picture.read_bytes()[:60])
    assert "4 unreadable" in refused(capsys, tmp_path / "run", *folder(root))
    dropped = [json.loads(line) for line in (tmp_path / "run" / "dropped.jsonl").read_text().splitlines()]
    assert [d["reason"] for d in dropped] == ["unreadable"] * 4


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["task=train", "method=sft", "init_from=nowhere"], "init_from=nowhere: no "),
        (["task=evaluate", "init_from=nowhere"], "init_from=nowhere: no "),
        (["task=evaluate", "data/benchmark=[vqa_rad]"], "data.benchmark.vqa_rad"),
        (["task=train", "method=sft", "data/benchmark=[medmnist]"], "data.benchmark.medmnist.root"),
        (["task=parity", "task.families=5"], "task.families=['5']"),
    ],
)
def test_what_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], told: str
) -> None:
    assert told in refused(capsys, tmp_path / "run", *overrides)
    assert not (tmp_path / "run" / "records.jsonl").exists()


def test_an_annotator_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["task=annotate", *folder(coco(tmp_path / "data"))[1:], "annotator._target_=nope.X"]
    assert "annotator=nope.X" in refused(capsys, tmp_path / "run", *overrides)


def test_one_candidate(tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folder: Path) -> None:
    line = refused(capsys, tmp_path / "run", f"model.path={tiny_folder}", "method.num_candidates=1", "credit=gae")
    assert "num_candidates=1" in line and "reward.normalize=none" in line
    assert not (tmp_path / "run" / "records.jsonl").exists(), "refused before anything is drawn or trained"


@pytest.mark.parametrize(
    "option",
    [
        "reward.normalize=Max", "reward.advantage_in_reward=litteral", "objective.reward_term=diff",
        "method.row=before", "method.looking=word", "method.kl.where=both", "method.kl.estimator=k4",
        "method.max_skipped=0", "objective.dual_clip=0.5", "objective.dual_clip=abc",
        "objective.mask_truncated=maybe", "objective.entropy_target=abc", "method.kl.coef=abc", "method.schedule=nope",
        "objective.clip_eps=-1",
        "objective.aggregation=token", "reward.parts.vision_relevance.denominator=keys",
        "reward.parts.vision_relevance.over_name=avg", "reward.parts.vision_relevance.region=areas",
        "reward.parts.localization.match=hungarian", "reward.parts.localization.shape=ciou",
        "method.num_epochs=0", "method.num_minibatches=0",
        "method.batch_size=0", "method.lr=fast", "method.critic_lr=-1", "reward.parts.localization.weight=much",
    ],
)  # fmt: skip
def test_a_reading_that_does_not_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folder: Path, option: str
) -> None:
    line = refused(capsys, tmp_path / "run", f"model.path={tiny_folder}", option)
    assert option in line


def test_one_candidate_has_no_group(tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folder: Path) -> None:
    alone = ["method.num_candidates=1", "reward.normalize=none", "credit=group"]
    assert "credit=gae" in refused(capsys, tmp_path / "run", f"model.path={tiny_folder}", *alone)


def test_the_pipeline_starts_from_its_own_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "task=train" in refused(capsys, tmp_path / "run", f"init_from={tmp_path}")


def test_a_trained_run_is_not_trained_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert f"resume={tmp_path / 'run'}" in refused(capsys, tmp_path / "run", "task=train", "method=sft")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    told = tasks.plain(OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "metrics.json")))
    assert told is not None and "no room on the disk" in told and "metrics.json" in told and "resume=" in told
    assert tasks.plain(OSError(errno.EIO, "broken")) is None


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_memory_that_is_short_anywhere_is_one_line(error: Exception) -> None:
    told = tasks.plain(error)
    assert told is not None and "out of memory: set engine.tokens lower" in told and "resume=" in told


def test_the_pipeline_refuses_a_budget_before_its_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_prompts: Callable[..., list[Prompt]]
) -> None:
    """Tuning would fit; the answers of rewarding, as long as they may be, would not."""
    records = [replace(p.record, split="train") for p in make_prompts(2)]
    sizes = {records[0].id: (50, 8), records[1].id: (60, 4)}
    monkeypatch.setattr(pipeline, "load_or_annotate", lambda cfg: RecordSet(records, {}))
    monkeypatch.setattr(pipeline, "check_data", lambda *_: sizes)
    monkeypatch.setattr(pipeline, "EvaluationSet", None)
    cfg = composed("task=pipeline", "engine.tokens=64", "method.max_new_tokens=5", f"paths.run_dir={tmp_path}")
    with pytest.raises(InputError, match=rf"{records[1].id}: engine.tokens=64: .* at least 65 are needed"):
        pipeline.pipeline(cfg)


def test_a_line_of_a_data_loader_worker_is_plain(tmp_path: Path) -> None:
    wrapped = 'Caught InputError in DataLoader worker process 0. Traceback: File "x" umed.errors.InputError: a.png: bad'
    assert tasks.plain(InputError(wrapped)) == "a.png: bad"


def test_no_rewards(tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folder: Path) -> None:
    assert "reward=" in refused(capsys, tmp_path / "run", f"model.path={tiny_folder}", "reward=[]")


def test_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = coco(tmp_path / "data")
    overrides = [*folder(root)[1:], "data.split.fractions=[0.5,0.25,0.25]", f"model.path={tmp_path / 'none'}"]
    assert "model.path" in refused(capsys, tmp_path / "run", "task=evaluate", *overrides)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: f.joinpath("config.json").write_text('{"model_type": "gpt2"}'), "a gpt2 checkpoint"),
        (lambda f: f.joinpath("config.json").write_text('{"model_type": "nothing"}'), "no qwen3_vl checkpoint"),
        (lambda f: f.joinpath("tokenizer.json").unlink(), "no qwen3_vl checkpoint"),
        (
            lambda f: f.joinpath("tokenizer.json").write_text(
                f.joinpath("tokenizer.json").read_text().replace("<|image_pad|>", "<|picture|>")
            ),
            "not the processor of this model",
        ),
    ],
    ids=["another family", "an unknown family", "no tokenizer", "another processor"],
)
def test_a_checkpoint_or_processor_that_does_not_fit(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_folder: Path,
    spoil: Callable[[Path], object],
    told: str,
) -> None:
    model = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    spoil(model)
    overrides = [*folder(coco(tmp_path / "data"))[1:], f"model.path={model}"]
    line = refused(capsys, tmp_path / "run", "task=evaluate", "data.evaluate.split=train", *overrides)
    assert f"model.path={model}" in line and told in line


def test_a_picture_with_more_tokens_than_the_context(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folder: Path
) -> None:
    overrides = [*folder(coco(tmp_path / "data"))[1:], f"model.path={tiny_folder}"]
    tight = ["task=train", "method=sft", "model.processor.max_prompt_tokens=10", "logger=csv"]
    line = refused(capsys, tmp_path / "run", *overrides, *tight)
    assert "tokens" in line and "max_prompt_tokens" in line
    assert not (tmp_path / "run" / "adapter").exists()


def test_an_adapter_for_another_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folder: Path, policy: Callable[..., Policy]
) -> None:
    make_policy_folder = tmp_path / "adapter"
    made = policy(adapter={"r": 2, "target_modules": "all-linear"})
    save_adapter(made, make_policy_folder, {})
    note = json.loads((make_policy_folder / "umed.json").read_text())
    note["model"]["hidden_size"] = 9
    (make_policy_folder / "umed.json").write_text(json.dumps(note))
    overrides = [*folder(coco(tmp_path / "data"))[1:], f"model.path={tiny_folder}", f"init_from={make_policy_folder}"]
    line = refused(capsys, tmp_path / "run", "task=evaluate", "data.evaluate.split=train", *overrides)
    assert "another model" in line and "hidden_size" in line


def test_a_dead_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_folder: Path) -> None:
    overrides = [*folder(coco(tmp_path / "data"))[1:], f"model.path={tiny_folder}", "task=train", "method=aar"]
    judge = ["judge=openai", "judge.base_url=http://127.0.0.1:9/v1", "judge.max_retries=0", "logger=csv"]
    small = ["method.max_new_tokens=4", "method.num_candidates=2", "method.batch_size=2"]
    line = refused(capsys, tmp_path / "run", *overrides, *judge, *small)
    assert "127.0.0.1:9" in line


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io = AtomicCheckpointIO(TorchCheckpointIO())
    io.save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    before = (tmp_path / "last.ckpt").read_bytes()

    def full(self: object, checkpoint: dict, path: Path, storage_options: object = None) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(TorchCheckpointIO, "save_checkpoint", full)
    with pytest.raises(InputError, match=r"no room on the disk.*resume="):
        io.save_checkpoint({"step": 2}, tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path) -> None:
    io, path = AtomicCheckpointIO(TorchCheckpointIO()), tmp_path / "last.ckpt"
    io.save_checkpoint({"step": 1}, path)
    assert io.load_checkpoint(path, weights_only=True) == {"step": 1}
    for damaged in (path.read_bytes()[:200], b"", b"\x80\x04N.", b"no checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(
            InputError, match=r"last.ckpt: not readable as a checkpoint .*remove it, then resume="
        ) as told:
            io.load_checkpoint(path, weights_only=True)
        assert "\n" not in str(told.value)


def test_a_family_without_attention_is_told_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, tmp_path / "run", "model=llama3_2_11b_vision")
    assert "vision_relevance" in line and "leave it out" in line
    assert not (tmp_path / "run" / "records.jsonl").exists()
