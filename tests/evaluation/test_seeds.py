"""Runs of several seeds: means by stage, paired gains, one table beside the runs."""

import json
from pathlib import Path

import pytest
from answers import diagnose, written
from omegaconf import OmegaConf

from tests.conftest import make_record
from umed.callbacks.seeds_table import SeedsTable
from umed.evaluation.score import Score, flat_metrics
from umed.evaluation.seeds import COLUMNS, GAINS, STAGES, build_seeds_table, report_seeds
from umed.run_files import update_metrics, write_jsonl

BOX = [[0, 0, 10, 10]]
IDS = [make_record(k, 20, 20).id for k in range(4)]


def make_run(folder: Path, right: dict[str, int]) -> Path:
    """Four records of two sources; of each stage the first answers are right, in words and box."""
    write_jsonl(folder / "records.jsonl", (make_record(k, 20, 20).to_json() for k in range(4)))
    for stage, count in right.items():
        answers = [
            diagnose(k, "ab"[k % 2], "A cyst." if k < count else "", BOX if k < count else None, id=record)
            for k, record in enumerate(IDS)
        ]
        written(folder / "predictions" / stage / "mau.jsonl", answers)
        # a second sampled answer has no box
        sampled = [other for a in answers for other in (a, a.model_copy(update={"boxes": None}))]
        written(folder / "predictions" / stage / "mau_sampled.jsonl", sampled)
        update_metrics(folder / "metrics.json", flat_metrics([Score("mau", "iou_sampled", 0.5, "avg")], stage))
    return folder


def test_the_table_of_two_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "0", {"base": 0, "sft": 2, "ppo": 2, "aar": 4})
    make_run(tmp_path / "1", {"base": 0, "sft": 2, "ppo": 0, "aar": 4})
    make_run(tmp_path / "2", {"base": 0})  # it did not end
    cfg = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    SeedsTable().on_multirun_end(cfg)
    table = json.loads((tmp_path / "seeds.json").read_text())
    names = [*STAGES, *(f"{after}-{before}" for after, before in GAINS)]
    assert set(table) == {f"{name}/{column}" for name in names for column in COLUMNS}
    means = {name: mean for name, (mean, _, _) in table.items()}
    assert [means[f"{stage}/accuracy"] for stage in STAGES] == pytest.approx([0, 0.5, 0.25, 1])
    assert [means[f"{stage}/iou_sampled"] for stage in STAGES] == pytest.approx([0, 0.25, 0.125, 0.5])
    assert [means[f"{stage}/accuracy_sampled"] for stage in STAGES] == pytest.approx([0, 0.5, 0.25, 1])
    assert means["aar-sft/accuracy"] == pytest.approx(0.5) and means["ppo-sft/iou"] == pytest.approx(-0.25)
    assert all(low <= mean <= high for mean, low, high in table.values())
    assert table["aar/accuracy"] == pytest.approx([1, 1, 1]) and table["sft-base/iou"][1] >= 0
    shown = capsys.readouterr().out
    assert "2 seeds" in shown and "aar - sft" in shown and "seeds.json" in shown
    assert build_seeds_table([tmp_path / "0", tmp_path / "1"]) == {k: tuple(v) for k, v in table.items()}


def test_without_a_finished_run_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "0", {"base": 0})
    report_seeds(tmp_path)
    assert "no finished run there" in capsys.readouterr().err and not (tmp_path / "seeds.json").exists()
