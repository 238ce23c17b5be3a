"""Runs of several seeds: means by stage, paired gains, one table beside the runs."""

import json
from pathlib import Path

import pytest
from answers import diagnose, written
from omegaconf import OmegaConf

from tests.conftest import make_record
from umed.callbacks.seeds_table import SeedsTable
from umed.evaluation.score import STAGES, Score, flat_metrics
from umed.evaluation.seeds import COLUMNS, GAINS, build_seeds_table, report_seeds
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
    stages = ("base", "sft", "ppo", "aar")
    gains = [f"{after} - {before}" for after, before in GAINS if "sft_continued" not in (after, before)]
    assert list(table) == [*stages, *gains] and all(row.keys() == set(COLUMNS) for row in table.values())
    assert [table[stage]["accuracy"]["value"] for stage in stages] == pytest.approx([0, 0.5, 0.25, 1])
    assert [table[stage]["iou_sampled"]["value"] for stage in stages] == pytest.approx([0, 0.25, 0.125, 0.5])
    assert [table[stage]["accuracy_sampled"]["value"] for stage in stages] == pytest.approx([0, 0.5, 0.25, 1])
    assert table["aar - sft"]["accuracy"]["value"] == pytest.approx(0.5)
    assert table["ppo - sft"]["iou"]["value"] == pytest.approx(-0.25)
    assert all(cell["low"] <= cell["value"] <= cell["high"] for row in table.values() for cell in row.values())
    assert (
        list(table["aar"]["accuracy"].values()) == pytest.approx([1, 1, 1]) and table["sft - base"]["iou"]["low"] >= 0
    )
    shown = capsys.readouterr().out
    assert "2 seeds" in shown and "aar - sft" in shown and "seeds.json" in shown
    assert build_seeds_table([tmp_path / "0", tmp_path / "1"]) == table


def test_a_control_that_every_run_has_stands_in_the_table(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / n, {"base": 0, "sft": 2, "sft_continued": 3, "ppo": 2, "aar": 4}) for n in "01"]
    table = build_seeds_table(runs)
    assert list(table)[:5] == list(STAGES)
    assert table["aar - sft_continued"]["accuracy"]["value"] == pytest.approx(0.25)
    make_run(tmp_path / "2", {"base": 0, "sft": 2, "ppo": 2, "aar": 4})
    assert "sft_continued" not in build_seeds_table([*runs, tmp_path / "2"])


def test_without_a_finished_run_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "0", {"base": 0})
    report_seeds(tmp_path)
    assert "no finished run there" in capsys.readouterr().err and not (tmp_path / "seeds.json").exists()
