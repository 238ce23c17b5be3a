"""Runs of several seeds: means by stage, paired gains, one table beside the runs."""

import json
from pathlib import Path

import pytest
from answers import diagnose, predict, written
from omegaconf import OmegaConf
from PIL import Image

from tests.conftest import make_record
from umed.callbacks.seeds_table import SeedsTable
from umed.evaluation.render_sweep import print_sweep
from umed.evaluation.score import STAGES, Score, flat_metrics
from umed.evaluation.seeds import COLUMNS, GAINS, Layout, build_seeds_table, report_seeds
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
        # an answer that names nothing looks at nothing in particular
        looks = {k: None if k >= count else count / 10 for k in range(4)}
        answers = [a.model_copy(update={"attention": looks[k]}) for k, a in enumerate(answers)]
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
    assert list(table) == [*stages, *gains] and all(row.keys() >= set(COLUMNS[:4]) for row in table.values())
    assert [table[stage]["accuracy"]["value"] for stage in stages] == pytest.approx([0, 0.5, 0.25, 1])
    assert [table[stage]["iou_sampled"]["value"] for stage in stages] == pytest.approx([0, 0.25, 0.125, 0.5])
    assert [table[stage]["accuracy_sampled"]["value"] for stage in stages] == pytest.approx([0, 0.5, 0.25, 1])
    assert table["aar - sft"]["accuracy"]["value"] == pytest.approx(0.5)
    assert table["aar"]["attention"]["value"] == pytest.approx(0.4) and "attention" not in table["base"]
    assert table["aar - sft"]["attention"]["value"] == pytest.approx(0.2) and "attention" not in table["sft - base"]
    assert table["ppo - sft"]["iou"]["value"] == pytest.approx(-0.25)
    assert all(cell["low"] <= cell["value"] <= cell["high"] for row in table.values() for cell in row.values())
    assert table["aar"]["accuracy"] == pytest.approx({"value": 1, "low": 1, "high": 1, "n": 4})
    assert table["sft - base"]["iou"]["low"] >= 0
    shown, told = capsys.readouterr()
    assert "2 seeds" in shown and "aar - sft" in shown and "seeds.json" in shown
    assert told.count("\n") == 1 and f"left out: 2: the same command with hydra.sweep.dir={tmp_path}" in told
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


def make_member(folder: Path, fraction: float, seed: int, right: dict[str, int]) -> Path:
    """The same with the config that a member is told apart by, and normal pictures: one of two has a box."""
    (folder / ".hydra").mkdir(parents=True)
    cfg = {"data": {"fraction": fraction, "synonyms": {}, "kept": ["phantom_a", "phantom_b"]}, "seed": seed}
    OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")
    make_run(folder, right)
    for stage in right:
        normal = [diagnose(k, "a", "Normal.", BOX if k else [], id=f"n{k}", image=f"n{k}.png") for k in range(2)]
        lines = [{**p.to_line(), "dataset": "mau_controls", "gold_boxes": [], "categories": ["cyst"]} for p in normal]
        written(folder / "predictions" / stage / "sanity" / "mau.controls.jsonl", lines)
        slake = [
            predict(k, "slake", "open", "CT", "ct" if k < right[stage] else "?", image=f"{k}.jpg") for k in range(3)
        ]
        written(
            folder / "predictions" / stage / "phantom_slake.jsonl",
            [{**p.to_line(), "dataset": "phantom_slake"} for p in slake],
        )
        chance = Score("phantom_slake", "open_exact", 0.25, row="chance")
        area = Score("phantom_medmnist_derma", "auc", 0.5 + seed / 4)
        update_metrics(folder / "metrics.json", flat_metrics([chance, area], stage))
    update_metrics(folder / "metrics.json", {"train/records": 100 * fraction})
    return folder


def test_members_are_told_apart_by_a_setting_and_drawn_over_it(tmp_path: Path) -> None:
    for fraction, right in ((0.5, 1), (1.0, 3)):
        for seed in (0, 1):
            make_member(tmp_path / f"{fraction}-{seed}", fraction, seed, {"base": 0, "sft": right, "aar": 4})
    metrics = ["accuracy", "accuracy/b", "false_boxes", "slake/open_exact", "medmnist_derma/auc"]
    layout = {
        "by": ["data.fraction", "data.kept"], "rows": ["sft", "aar"], "differences": [["aar", "sft"]],
        "metrics": metrics, "paper": {"1, a+b/aar": {"accuracy": 0.75}},
        "figure": {"x": "train/records", "rows": ["aar - sft", "aar"], "metrics": ["accuracy"], "label": "records"},
    }  # fmt: skip
    SeedsTable("scale.json", **layout).on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    table = json.loads((tmp_path / "scale.json").read_text())
    rows = ["sft", "aar", "aar - sft", "chance"]
    assert list(table) == [f"{fraction}, a+b/{row}" for fraction in ("0.5", "1") for row in rows]
    small, large = table["0.5, a+b/sft"], table["1, a+b/sft"]
    assert (small["x"]["value"], large["x"]["value"]) == (50, 100)
    assert (small["accuracy"]["value"], large["accuracy"]["value"]) == pytest.approx((0.25, 0.75))
    assert (small["accuracy/b"]["value"], large["accuracy/b"]["value"]) == (0, 0.5)
    assert small["false_boxes"]["value"] == 0.5 and small["false_boxes"]["n"] == 2
    assert large["slake/open_exact"]["value"] == 1 and small["slake/open_exact"]["value"] == pytest.approx(1 / 3)
    assert large["medmnist_derma/auc"] == {"value": 0.625}, "no verdict of an item: no interval"
    assert table["1, a+b/chance"]["slake/open_exact"] == {"value": 0.25}
    assert table["0.5, a+b/aar - sft"]["accuracy"]["value"] == pytest.approx(0.75)
    assert table["1, a+b/aar"]["accuracy"]["paper"] == 0.75
    with Image.open(tmp_path / "scale.png") as picture:
        assert picture.width > 400


def test_accuracy_by_bin_of_iou(tmp_path: Path) -> None:
    for seed in (0, 1):
        make_member(tmp_path / f"{seed}", 1.0, seed, {"base": 0, "aar": 3})
    table = build_seeds_table([tmp_path / "0", tmp_path / "1"], Layout(rows=["aar"], edges=(0, 0.5, 0.9, 1)))
    assert list(table) == ["IoU 0 to 0.5/aar", "IoU 0.9 to 1/aar"], "an empty bin has no row"
    assert table["IoU 0 to 0.5/aar"]["accuracy"]["value"] == 0 and table["IoU 0 to 0.5/aar"]["accuracy"]["n"] == 2
    assert table["IoU 0.9 to 1/aar"]["accuracy"]["value"] == 1 and table["IoU 0.9 to 1/aar"]["x"]["value"] == 0.95


def test_many_metrics_are_rows_with_the_papers_values_beside(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = [f"slake/rule{k}" for k in range(8)]
    ours = {m: {"value": 0.5, "low": 0.25, "high": 0.75, "n": 9} for m in metrics}
    print_sweep({"base": ours, "aar": {metrics[0]: {**ours[metrics[0]], "paper": 0.9}}}, metrics, "title")
    lines = [[c.strip() for c in x.split("│")[1:-1]] for x in capsys.readouterr().out.splitlines() if x[:1] == "│"]
    assert lines[0] == ["slake/rule0", "9", *["0.500 [0.250, 0.750]"] * 2, "0.90"]
    assert lines[1] == ["slake/rule1", "9", "0.500 [0.250, 0.750]", "-", "-"]


def test_a_file_that_is_not_whole_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "0", {"base": 0, "sft": 2, "ppo": 2, "aar": 4})
    (tmp_path / "0" / "predictions" / "aar" / "mau.jsonl").write_text('{"id": "1", "outp')
    SeedsTable().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    line = capsys.readouterr().err
    assert line.startswith("error: ") and "mau.jsonl:1" in line and line.count("\n") == 1
