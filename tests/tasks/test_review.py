"""`task=review`: the sheet into the run folder, the decisions out of it."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from composed import composed
from omegaconf import DictConfig
from PIL import Image

from umed.annotate.review import hash_text
from umed.boxes import Box
from umed.errors import InputError
from umed.records import Record, read_records
from umed.run_files import read_metrics, write_jsonl
from umed.tasks.review import review


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with four records of two sources."""
    run = tmp_path / "run"
    records = [
        Record(
            f"{s}/{k}",
            s,
            "a.png",
            80,
            40,
            (Box(0, 0, 0.5, 0.5),),
            "cyst",
            "CT",
            "g",
            "train",
            "",
            "What?",
            f"{k} <region>",
        )
        for s in ("s", "[t]")
        for k in range(2)
    ]
    write_jsonl(run / "records.jsonl", (r.to_json() for r in records))
    Image.new("L", (80, 40)).save(tmp_path / "a.png")
    (run / "sources.json").write_text(json.dumps(dict.fromkeys(("s", "[t]"), str(tmp_path))))
    return run


def asked(run: Path, *overrides: str) -> DictConfig:
    return composed("task=review", f"paths.run_dir={run}", *overrides)


def saved(path: Path, records: list[Record], words: list[str], reviewer: str = "anna", **fields: str) -> Path:
    lines: list[dict[str, Any]] = [
        {"id": r.id, "hash": hash_text(r), "decision": w, "time": "2026-01-02T03:04:05Z", **fields}
        for r, w in zip(records, words, strict=False)
    ]
    path.write_text(json.dumps({"reviewer": reviewer, "sheet": "all 4 diagnoses", "decisions": lines}))
    return path


def test_the_sheet_goes_into_the_run_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "records.jsonl").read_bytes()
    review(asked(run, "task.sample=3", "task.chunk=2"))
    assert {p.name for p in (run / "review").iterdir()} == {"review.html", "review-2.html", "review.csv"}
    with (run / "review" / "review.csv").open(encoding="utf-8-sig", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 3 and {r["source"] for r in rows} == {"s", "[t]"}
    assert {r["sheet"] for r in rows} == {"a random 3 of 4 diagnoses, spread over sources (seed 0)"}
    assert "a random 3 of 4" in capsys.readouterr().out and (run / "records.jsonl").read_bytes() == before


def test_decisions_go_into_the_run_folder_and_twice_changes_nothing(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = read_records(run / "records.jsonl")
    anna = saved(tmp_path / "review-anna.json", records, ["accept", "reject", "edit"], diagnosis="new <region>")
    ben = saved(tmp_path / "review-ben.json", records, ["accept", "accept"], "ben")
    target = tmp_path / "reviewed"
    command = (f"task.read=[{anna},{ben}]", f"records={run / 'records.jsonl'}", "task.on_conflict=reject")
    review(asked(target, *command))
    out = capsys.readouterr().out
    after = read_records(target / "records.jsonl")
    assert [r.diagnosis for r in after] == ["0 <region>", "", "new <region>", "1 <region>"]
    assert json.loads((target / "sources.json").read_text()) == dict.fromkeys(("s", "[t]"), str(tmp_path))
    metrics = read_metrics(target)
    assert metrics["review/reviewed"] == 3 and metrics["review/error_rate"] == pytest.approx(2 / 3)
    assert metrics["review/error_rate_low"] < 2 / 3 < metrics["review/error_rate_high"] < 1
    report = json.loads((target / "review" / "report.json").read_text())
    assert report["sheets"] == ["all 4 diagnoses"] and report["agreement"]["same_decision"] == 0.5
    table = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in out.splitlines() if line.startswith("│")}
    assert [c.strip() for c in table["all"]] == ["3", "1", "1", "1", "1", "66.67%", "20.77% - 93.85%"]
    assert [c.strip() for c in table["[t]"]][:2] == ["1", "0"] and "0.22%" in table["the paper"][5]
    assert "anna, ben: the same decision for 50.0% of 2" in out
    written = {p: p.read_bytes() for p in target.rglob("*") if p.is_file()}
    review(asked(target, *command))
    review(asked(target, f"task.read={ben}", "task.on_conflict=reject"))  # in the run folder itself
    assert {p: p.read_bytes() for p in target.rglob("*") if p.is_file()} == written


def test_a_category_that_is_new_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = read_records(run / "records.jsonl")
    edit = saved(tmp_path / "a.json", records, ["edit"], diagnosis="0 <region>", category="cist")
    review(asked(run, f"task.read={edit}"))
    assert "no record had before: cist" in capsys.readouterr().out


def test_wrong_input_writes_nothing(run: Path, tmp_path: Path) -> None:
    before = (run / "records.jsonl").read_bytes()
    records = read_records(run / "records.jsonl")
    anna, ben = (saved(tmp_path / f"{n}.json", records, [w], n) for n, w in (("anna", "accept"), ("ben", "reject")))
    for told, overrides in {
        "the reviewers disagree": [f"task.read=[{anna},{ben}]"],
        "task.on_conflict=first: choose": [f"task.read={anna}", "task.on_conflict=first"],
        "task.on_conflict=foo: choose": ["task.on_conflict=foo"],
        "task.sample=x: a whole number": ["task.sample=x"],
        "task.sample=1.5: a whole number": ["task.sample=1.5"],
        "no file 3": ["task.read=3"],
        "task.chunk=0: at least 1": ["task.chunk=0"],
        "task.sample=-1": ["task.sample=-1"],
        "task.picture_side=0": ["task.picture_side=0"],
    }.items():
        with pytest.raises(InputError, match=told):
            review(asked(run, *overrides))
    with pytest.raises(InputError, match=r"none: no records\.jsonl there"):
        review(asked(tmp_path / "none"))
    assert (run / "records.jsonl").read_bytes() == before
    assert not (run / "review").exists() and not (run / "metrics.json").exists() and not (tmp_path / "none").exists()
