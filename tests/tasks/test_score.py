"""`task=score` and `task=compare` through the command that users type."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from answers import ROOT, line, run, run_here, written
from umed.evaluation.verdicts import verdicts

from umed.errors import InputError
from umed.records import read_jsonl
from umed.tasks.compare import differences, paired

CHOICES = [" A:cyst", " B:mass", " C:stone", " D:polyp"]


LINES = [
    line(0, "slake", "open", "CT", "ct."),
    line(1, "slake", "open", "left lung", "lung lung"),
    line(2, "slake", "closed", "No", "normal"),
    line(3, "pmc_vqa", "choice", "B", "I do not know", choices=CHOICES),
    line(4, "pmc_vqa", "choice", "C", "C", choices=CHOICES),
    line(5, "slake", "open", 2, "two"),
]


def test_a_file_is_scored_item_by_item_without_a_model(tmp_path: Path) -> None:
    path, out = written(tmp_path / "answers.jsonl", LINES), tmp_path / "out"
    shown = run("task=score", f"predictions={path}", f"hydra.run.dir={out}", "task.compat=[closed_contains@llavamed]")
    scores = list(read_jsonl(out / "scores.jsonl"))
    assert [s.pop("id") for s in scores] == [x["id"] for x in LINES]
    assert scores == verdicts(LINES, compat=["closed_contains@llavamed"])
    assert scores[2]["closed_contains@llavamed"] is True
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["slake/open_exact"] == pytest.approx(2 / 3) and metrics["slake/open_exact/n"] == 3
    assert metrics["pmc_vqa/choice_letter"] == 0.5 and metrics["pmc_vqa/choice_letter/chance"] == 0.25
    assert metrics["pmc_vqa/unreadable"] == 0.5 and metrics["slake/closed_exact/majority"] == 1
    for word in ("open_exact", "majority", "test.json", "no letter could be read from 50.0%", "3 gold answers"):
        assert word in shown
    check = "import sys, umed.tasks.score; assert not {'torch', 'lightning'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=60)


def test_another_file_in_the_same_folder_leaves_no_old_number(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text('{"sft/slake/open_exact": 1, "slake/open_exact": 9, "slake/old": 1}')
    words = ["task=score", f"predictions={written(tmp_path / 'a.jsonl', LINES[:1])}", "task.draws=0"]
    run_here(tmp_path / "out", *words)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["slake/open_exact"] == 1 and "slake/old" not in metrics and metrics["sft/slake/open_exact"] == 1


def test_bad_files_end_in_one_line(tmp_path: Path) -> None:
    out = f"hydra.run.dir={tmp_path / 'out'}"
    path = written(tmp_path / "a.jsonl", [*LINES, LINES[1]])
    assert f"{path}:7: id item 1 of slake stands in line 2 too" in run(
        "task=score", f"predictions={path}", out, fails=True
    )
    assert not (tmp_path / "out" / "scores.jsonl").exists()
    assert "predictions is not set" in run_here(tmp_path, "task=score", fails=True)
    words = ["task=score", f"predictions={written(path, LINES)}", "task.dataset=slake"]
    told = run_here(tmp_path, *words, fails=True)
    assert f"{path}:4: item 3 is of pmc_vqa, slake is expected here" in told


def test_a_benchmark_can_be_asked_for_as_a_whole(tmp_path: Path) -> None:
    from umed.synthetic.benchmarks import PhantomBenchmarks

    root = tmp_path / "drawn"
    questions = [q for q in PhantomBenchmarks(str(root), 6).questions() if q.dataset == "phantom_slake"]
    words = ["task=score", "task.complete=true", f"data.benchmark.phantom.root={root}"]
    words += ["data.benchmark.phantom.num_items=6", f"predictions={tmp_path / 'phantom_slake.jsonl'}", "task.draws=0"]
    answers = [q.line("yes") for q in questions]
    written(tmp_path / "phantom_slake.jsonl", answers[:-1])
    assert f"phantom_slake: 1 of {len(answers)} items have no answer" in run_here(tmp_path, *words, fails=True)
    written(tmp_path / "phantom_slake.jsonl", [*answers, {**answers[0], "id": "other"}])
    assert "phantom_slake: 1 answers are to no item of it, other among them" in run_here(tmp_path, *words, fails=True)
    written(tmp_path / "phantom_slake.jsonl", answers)
    assert "SYNTHETIC" in run_here(tmp_path, *words)


def test_two_runs_are_compared_item_by_item(tmp_path: Path) -> None:
    other = [{**x, "output": "CT" if k == 1 else "left lung" if k == 0 else "B"} for k, x in enumerate(LINES)]
    first, second = written(tmp_path / "a.jsonl", LINES), written(tmp_path / "b.jsonl", other[::-1])
    shown = run_here(tmp_path / "o", "task=compare", f"predictions=[{first},{second}]")
    found = json.loads((tmp_path / "o" / "compare.json").read_text())
    assert found["slake/open_exact/first"] == pytest.approx(2 / 3) and found["slake/open_exact/second"] == 0
    assert found["slake/open_exact/difference"] == pytest.approx(-2 / 3)
    assert found["slake/open_exact/only_first"] == 2 and found["slake/open_exact/p"] == 0.5
    assert found["pmc_vqa/choice_letter/only_first"] == found["pmc_vqa/choice_letter/only_second"] == 1
    assert (
        "slake/open_recall/p" not in found and found["slake/open_recall/low"] <= found["slake/open_recall/difference"]
    )
    items = list(read_jsonl(tmp_path / "o" / "compare.jsonl"))
    assert [x["id"] for x in items] == [x["id"] for x in LINES]
    assert items[0]["open_exact"] == [True, False] and items[0]["output_second"] == "left lung"
    assert "McNemar p" in shown and "B: left lung" in shown


def test_a_run_is_judged_as_a_whole_and_compared_in_part(tmp_path: Path) -> None:
    """`open_nearest` chooses from the gold answers of a file, not from those of the items that both have."""
    lines = [line(0, "slake", "open", "left lung", "lung right"), line(1, "slake", "open", "right lung", "x")]
    assert [v["open_nearest"] for v in verdicts(lines)] == [False, False] and verdicts(lines[:1])[0]["open_nearest"]
    whole, part = written(tmp_path / "a.jsonl", lines), written(tmp_path / "b.jsonl", lines[:1])
    run_here(tmp_path / "o", "task=compare", f"predictions=[{whole},{part}]", "task.common=true")
    found = json.loads((tmp_path / "o" / "compare.json").read_text())
    assert (found["slake/open_nearest/first"], found["slake/open_nearest/second"]) == (0, 1)


def test_names_in_brackets_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "[/v2]").mkdir(parents=True)
    path = written(tmp_path / "[/v2]" / "a.jsonl", [{**x, "dataset": "phantom_slake"} for x in LINES[:3]])
    words = [f"predictions='{path}'", "task.draws=0"]
    assert "[/v2]/a.jsonl" in run_here(tmp_path / "o", "task=score", *words).replace("\n", "")
    shown = run_here(tmp_path / "o", "task=compare", f"predictions=['{path}','{path}']")
    title = "".join(shown.split("┏")[0].split())
    assert title.count("[/v2]/a.jsonl") == 2 and title.endswith("(SYNTHETICpictures)")


def test_other_items_are_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["a", "b"]
    with pytest.raises(InputError, match="a: 2 items are in it alone, item 3 of pmc_vqa among them"):
        paired(LINES, [x for x in LINES if x["dataset"] == "slake"], names, False)
    assert len(paired(LINES, LINES[:2], names, True)) == 2 and "a: 4 items" in capsys.readouterr().out
    with pytest.raises(InputError, match="no item in common"):
        paired(LINES[:2], LINES[2:], names, True)
    with pytest.raises(InputError, match=r"item 0 of slake: answer is 'CT' in a, 'MR' in b"):
        paired(LINES[:1], [{**LINES[0], "answer": "MR"}], names, False)
    mau = {**LINES[0], "dataset": "mau", "source": "s", "category": "cyst", "gold_boxes": [[0, 0, 4, 4]]}
    with pytest.raises(InputError, match=r"item 0 of mau: gold_boxes is \[\[0, 0, 4, 4\]\] in a"):
        paired([mau], [{**mau, "gold_boxes": [[0, 0, 4, 5]]}], names, False)
    with pytest.raises(InputError, match="item 0 of slake: split_file is"):
        paired(LINES[:1], [{**LINES[0], "split_file": "train.json"}], names, False)


def test_a_difference_is_over_the_items_that_both_have_a_verdict_of() -> None:
    names = ["malignant", "normal, benign"]
    one = [line(k, "medmnist_breast", "label", names[k % 2], "", scores=dict(zip(names, s, strict=True)))
           for k, s in enumerate([(0.9, 0.1), (0.2, 0.8), (0.6, 0.4), (0.7, 0.3)])]  # fmt: skip
    two = [{**x, "scores": dict(zip(names, s, strict=True))} for x, s in zip(one, [(0.4, 0.6)] * 4, strict=True)]
    two[3]["scores"] = None
    rows = differences(list(zip(one, two, strict=True)), [verdicts(one), verdicts(two)], 50)
    row = rows["medmnist_breast/acc"]
    assert row["n"] == 3 and row["first"] == 1 and row["second"] == pytest.approx(1 / 3)
    assert (row["only_first"], row["only_second"]) == (2, 0)
    assert (
        rows["medmnist_breast/auc"]["first"] == 1.0
        and rows["medmnist_breast/auc"]["n"] == 3
        and "p" not in rows["medmnist_breast/auc"]
    )
