"""`task=evaluate` with the embedded model: what it shows, that `task=score` finds the same, what may be left out."""

import json
from pathlib import Path

import pytest
from answers import ITEMS, SMALL, EvaluatedRun, evaluate_embedded, run_here
from disk_examples import example_of

from umed.evaluation.benchmarks.slake import Slake
from umed.records import SYNTHETIC, RecordSet
from umed.run_files import read_jsonl
from umed.synthetic.benchmarks import PhantomBenchmarks

BENCHMARKS = [f"{SYNTHETIC}{dataset}" for dataset in PhantomBenchmarks.scorers]
HEADS = ("majority", "chance", "question", "alone", "black", "another", "picture", "not in", "training")


def test_score_finds_the_same_numbers(evaluated: EvaluatedRun, tmp_path: Path) -> None:
    shown = run_here(tmp_path, "task=score", f"predictions={evaluated.predictions}")
    scored = json.loads((tmp_path / "metrics.json").read_text())
    metrics = evaluated.metrics
    assert {n.split("/")[0] for n in scored} == {"mau", *BENCHMARKS}
    for name, value in scored.items():
        assert metrics[f"base/{name}"] == pytest.approx(value, abs=1e-12), name
    kept = [x for d in ("mau", *BENCHMARKS) for x in evaluated.lines(f"scores/{d}")]
    by_id = sorted(map(json.dumps, read_jsonl(tmp_path / "scores.jsonl")))
    assert sorted(map(json.dumps, kept)) == by_id  # the verdicts of every item too
    only_here = {n for n in metrics if n.startswith("base/") and n.removeprefix("base/") not in scored}
    asked = ("question_prior", "black", "shuffled", "disjoint", "disjoint_n")
    more = [n for n in only_here if not n.endswith(asked)]
    assert all("_sampled" in n or "/false_" in n for n in more), more
    assert "SYNTHETIC" in shown and "open_nearest" in shown


def test_the_tables_say_what_is_synthetic_and_what_a_number_must_beat(evaluated: EvaluatedRun) -> None:
    mau, rest = evaluated.shown.split("protocol ours")
    assert "(SYNTHETIC pictures): accuracy / IoU" in mau and "deeplesion" in mau and " sampled " in mau
    assert all(f"│   {row} " in mau for row in ("majority", "black picture", "another picture"))
    assert "phantom_slake: split file test.json, closed by answer_type" in evaluated.shown
    head = rest.split("┡")[0]
    assert "(phantom_: SYNTHETIC pictures)" in head
    assert all(word in head for word in ("95 %", "value", *HEADS))
    for dataset in ("mau", *BENCHMARKS):
        assert f"│ {dataset} " in rest
    row = next(line for line in rest.splitlines() if f"│ {BENCHMARKS[-1]} " in line and "│ acc " in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    name = f"base/{BENCHMARKS[-1]}/acc"
    parts = ("", "/majority", "/chance", "/question_prior", "/black", "/shuffled", "/disjoint")
    value, *beside = (f"{evaluated.metrics[f'{name}{part}']:.3f}" for part in parts)
    low, high = (f"{evaluated.metrics[f'{name}/{part}']:.3f}" for part in ("low", "high"))
    assert cells == ["base", BENCHMARKS[-1], "acc", value, f"{low} - {high}", str(ITEMS), *beside]


def test_benchmarks_alone(evaluated: EvaluatedRun, tmp_path: Path) -> None:
    """The same answers as beside MAU; no records are prepared, no MAU table is printed."""
    words = ["data.evaluate.mau=false", "data.evaluate.sanity=[majority]", "data.evaluate.leaks=false"]
    one = evaluate_embedded(tmp_path, *words, data=evaluated.data)
    shown = one.shown
    assert "accuracy / IoU" not in shown and "│ mau " not in shown and "SYNTHETIC" in shown
    assert not (one.folder / "records.jsonl").exists() and not any("/mau/" in name for name in one.metrics)
    for dataset in BENCHMARKS:
        before, now = evaluated.lines(dataset), one.lines(dataset)
        assert [x["output"] for x in now] == [x["output"] for x in before]
    names = {p.stem for p in (one.predictions / "sanity").glob("*")}
    assert names == {f"{dataset}.majority" for dataset in BENCHMARKS}
    assert all(evaluated.metrics[name] == pytest.approx(value) for name, value in one.metrics.items())
    assert "question" not in shown.split("┡")[0] and "black" not in shown


def test_mau_alone(evaluated: EvaluatedRun, tmp_path: Path) -> None:
    words = [f"records={evaluated.folder / 'records.jsonl'}", "data/benchmark=[]", "data.evaluate.sanity=[black]"]
    words += ["data.evaluate.samples=0", "data.evaluate.leaks=false", "data.evaluate.alone=3"]
    one = evaluate_embedded(tmp_path, *words, data=evaluated.data)
    shown = one.shown
    assert "accuracy / IoU" in shown and "SYNTHETIC" in shown and "│ mau " in shown and "leak: " not in shown
    assert {p.name for p in one.predictions.glob("*.json*")} == {"mau.jsonl"}
    assert {p.name for p in (one.predictions / "sanity").iterdir()} == {"mau.black.jsonl", "mau.controls.jsonl"}
    assert one.lines("mau") == evaluated.lines("mau")
    assert not (one.folder / "leaks.json").exists() and not any("phantom_vqa" in n for n in one.metrics)
    same = {n: v for n, v in one.metrics.items() if n.startswith("base/")}
    speed = {n: same.pop(n) for n in list(same) if n.startswith("base/speed/")}
    assert same and all(evaluated.metrics[n] == pytest.approx(v) for n, v in same.items())
    assert speed.keys() == {f"base/speed/{name}" for name in ("batched", "alone", "ratio", "same")}
    assert speed["base/speed/same"] == 1 and "queries/s" in shown


def test_a_lost_test_picture_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example_of(Slake)(tmp_path / "slake")
    (tmp_path / "slake" / "imgs" / "xmlab104" / "source.jpg").unlink()
    monkeypatch.setattr("umed.tasks.train.load_or_annotate", lambda cfg: RecordSet([], {}))
    monkeypatch.setattr("umed.tasks.train.train_stage", lambda *_: pytest.fail("trained"))
    words = ["task=train", "data/benchmark=[slake]", f"data.benchmark.slake.root={tmp_path / 'slake'}"]
    told = run_here(tmp_path / "run", *words, "data.evaluate.mau=false", fails=True)
    assert "xmlab104/source.jpg" in told


def test_nothing_at_all_ends_in_one_line(tmp_path: Path) -> None:
    words = ["task=evaluate", SMALL[0], "data.evaluate.mau=false", "data/benchmark=[]"]
    assert "nothing to evaluate: set data.evaluate.mau=true" in run_here(tmp_path / "run", *words, fails=True)
    assert not list((tmp_path / "run").rglob("*.jsonl"))
