"""Two stages picture by picture, and the members of a sweep side by side."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from answers import SCORERS, diagnose, written
from PIL import Image

from tests.conftest import make_record
from umed.analysis import Run
from umed.comparisons import Changes, Sweep, newest_sweep, open_sweep
from umed.errors import InputError
from umed.evaluation.results import score_predictions
from umed.evaluation.score import Score, flat_metrics
from umed.evaluation.scorer import judge_all
from umed.run_files import update_metrics, write_jsonl, write_roots

BOX, MISSED = [[0, 0, 10, 10]], [[10, 10, 20, 20]]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two members with four records; sft names the first two, aar all but the first, whose box it has lost too."""
    for member in ("seed-0", "seed-1"):
        folder = tmp_path / member
        records = [replace(make_record(k, 20, 20), source="phantom_a", split="test") for k in range(4)]
        write_jsonl(folder / "records.jsonl", (r.to_json() for r in records))
        write_roots(folder, {"phantom_a": folder})
        for record in records:
            Image.new("L", (20, 20), 90).save(folder / record.image)
        for stage, right in {"sft": (0, 1), "aar": (1, 2, 3)}.items():
            answers = [
                diagnose(k, "phantom_a", "A cyst." if k in right else "", BOX if k in right else MISSED, id=r.id)
                for k, r in enumerate(records)
            ]
            written(folder / "predictions" / stage / "mau.jsonl", answers)
            scores = score_predictions(answers, judge_all(answers, SCORERS), SCORERS, draws=20)
            metrics = flat_metrics([*scores, Score("mau", "iou_sampled", 0.5, "avg")], stage)
            update_metrics(folder / "metrics.json", metrics)
    (tmp_path / "multirun.yaml").touch()
    return tmp_path


def test_what_changed_between_two_stages(sweep: Path) -> None:
    run = Run(sweep / "seed-0")
    changes = Changes((run, "sft"), (run, "aar"))
    row = changes.summary().loc["accuracy"]
    assert (row["sft"], row["aar"], row["difference"], row["n"]) == (0.5, 0.75, 0.25, 4)
    assert (row["right in sft alone"], row["right in aar alone"]) == (1, 2)
    assert changes.items["change"].tolist() == [2, 2, 0, -2]
    better, worse = changes.pictures(2), changes.pictures(1, worse=True)
    assert [a.get_title() for a in better.axes[:2]] == ["sft", "aar"] and len(better.axes) == 4
    assert [a.get_xlabel() for a in worse.axes] == ["A cyst. [right, IoU 1.00]", "[wrong, IoU 0.00]"]
    assert "SYNTHETIC" in better.get_suptitle()
    other = Changes((run, "sft"), (Run(sweep / "seed-1"), "aar"))
    assert other.names == ["seed-0: sft", "seed-1: aar"]
    with pytest.raises(InputError, match="ppo: no answers of that stage: it has sft, aar"):
        Changes((run, "sft"), (run, "ppo"))


def test_the_members_of_a_sweep(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMED_SWEEP", str(sweep))
    members = open_sweep()
    assert [m.folder.name for m in members.members] == ["seed-0", "seed-1"] and members.stages == ["sft", "aar"]
    assert members.by_member("accuracy").loc["seed-1"].to_dict() == {"sft": 0.5, "aar": 0.75}
    assert members.table().loc["aar - sft", "accuracy"].startswith("0.250 [")
    figure = members.compare(["accuracy", "attention"])
    assert [a.get_title() for a in figure.axes] == ["accuracy", "attention"] and not figure.axes[1].get_legend()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["seed-0", "seed-1"]
    assert len(members.examples("aar", 2).axes) == 4
    assert newest_sweep(sweep.parent) == sweep


def test_a_folder_without_a_sweep_is_one_line(sweep: Path, tmp_path: Path) -> None:
    (sweep / "seed-0" / "metrics.json").write_text(json.dumps({}))
    assert [m.folder.name for m in Sweep(sweep).members] == ["seed-1"]
    with pytest.raises(InputError, match="no finished run in it: give the folder of a multirun"):
        Sweep(sweep / "seed-1")
    with pytest.raises(InputError, match="no multirun there yet"):
        newest_sweep(sweep / "seed-1")
