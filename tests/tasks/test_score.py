"""`task=score`: any file of answers is judged item by item, without a model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from answers import LINES, ROOT, SCORERS, parse, run_here, written

from umed.evaluation.prediction import Prediction
from umed.evaluation.scorer import Options, judge_all
from umed.run_files import read_jsonl
from umed.synthetic.benchmarks import PhantomBenchmarks


def test_a_file_is_scored_item_by_item_without_a_model(tmp_path: Path) -> None:
    path, out = written(tmp_path / "answers.jsonl", LINES), tmp_path / "out"
    shown = run_here(out, "task=score", f"predictions={path}", "task.compat=[closed_contains@llavamed]")
    scores = list(read_jsonl(out / "scores.jsonl"))
    assert [s.pop("id") for s in scores] == [x["id"] for x in LINES]
    judged = judge_all([parse(x) for x in LINES], SCORERS, Options(compat=("closed_contains@llavamed",)))
    assert scores == judged
    assert scores[2]["closed_contains@llavamed"] is True
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["slake/open_exact"] == pytest.approx(2 / 3) and metrics["slake/open_exact/n"] == 3
    assert metrics["pmc_vqa/choice_letter"] == 0.5 and metrics["pmc_vqa/choice_letter/chance"] == 0.25
    assert metrics["pmc_vqa/unreadable"] == 0.5 and metrics["slake/closed_exact/majority"] == 1
    for word in ("open_exact", "majority", "test.json", "no letter could be read from 50.0%", "3 gold answers"):
        assert word in shown


def test_another_file_in_the_same_folder_leaves_no_old_number(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text('{"sft/slake/open_exact": 1, "slake/open_exact": 9, "slake/old": 1}')
    words = ["task=score", f"predictions={written(tmp_path / 'a.jsonl', LINES[:1])}", "task.draws=0"]
    run_here(tmp_path / "out", *words)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["slake/open_exact"] == 1 and "slake/old" not in metrics and metrics["sft/slake/open_exact"] == 1


def test_bad_files_end_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [*LINES, LINES[1]])
    told = run_here(tmp_path / "out", "task=score", f"predictions={path}", fails=True)
    assert f"{path}:7: id item 1 of slake stands in line 2 too" in told
    assert not (tmp_path / "out" / "scores.jsonl").exists()
    words = [f"predictions={written(path, LINES)}", "task.compat=[bleu]"]
    assert "task.compat=bleu: choose of closed_contains@llavamed" in run_here(
        tmp_path, "task=score", *words, fails=True
    )
    assert "predictions is not set" in run_here(tmp_path, "task=score", fails=True)
    words = ["task=score", f"predictions={written(path, LINES)}", "task.dataset=slake"]
    told = run_here(tmp_path, *words, fails=True)
    assert f"{path}:4: item 3 is of pmc_vqa, slake is expected here" in told


@pytest.mark.parametrize("task", ["score", "evaluate"])
@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("mine._target_=no_such_file.Mine", "data.benchmark.mine=no_such_file.Mine: No module named"),
        ("mine._target_=collections.Counter", "data.benchmark.mine: Counter has no scorers, splits"),
        ("mine.root=here", "data.benchmark.mine: no _target_"),
    ],
)
def test_a_benchmark_that_is_none_is_told_before_anything_begins(
    tmp_path: Path, task: str, setting: str, told: str
) -> None:
    words = [f"predictions={written(tmp_path / 'a.jsonl', LINES)}", f"+data.benchmark.{setting}"]
    assert told in run_here(tmp_path / "out", f"task={task}", *words, fails=True)
    assert not (tmp_path / "out").exists()


def test_a_benchmark_can_be_asked_for_as_a_whole(tmp_path: Path) -> None:
    root = tmp_path / "drawn"
    questions = [q for q in PhantomBenchmarks(str(root), 6).questions() if q.dataset == "phantom_slake"]
    words = ["task=score", "task.complete=true", f"data.benchmark.phantom.root={root}"]
    words += ["data.benchmark.phantom.num_items=6", f"predictions={tmp_path / 'phantom_slake.jsonl'}", "task.draws=0"]
    answers = [Prediction(question=q, output="yes").to_line() for q in questions]
    written(tmp_path / "phantom_slake.jsonl", answers[:-1])
    assert f"phantom_slake: 1 of {len(answers)} items have no answer" in run_here(tmp_path, *words, fails=True)
    written(tmp_path / "phantom_slake.jsonl", [*answers, {**answers[0], "id": "other"}])
    assert "phantom_slake: 1 answers are to no item of it, other among them" in run_here(tmp_path, *words, fails=True)
    written(tmp_path / "phantom_slake.jsonl", answers)
    assert "SYNTHETIC" in run_here(tmp_path, *words)


HEAVY = ("torch", "lightning", "transformers", "wandb", "peft", "pandas", "matplotlib", "datasets")


def test_the_command_starts_without_what_takes_seconds_to_import(tmp_path: Path) -> None:
    """`task=score` and `task=compare` as a user types them, in one process: Hydra, the task and its table."""
    path = written(tmp_path / "answers.jsonl", LINES)
    command = f"""
import runpy, sys
for task, given in (("score", "{path}"), ("compare", "[{path},{path}]")):
    sys.argv = ["run.py", "task=" + task, "predictions=" + given, "hydra.run.dir={tmp_path}/" + task]
    runpy.run_path("run.py", run_name="__main__")
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "score" / "metrics.json").read_text())["slake/open_exact/n"] == 3
    assert (tmp_path / "compare" / "compare.json").is_file() and "open_exact" in done.stdout


def test_names_in_brackets_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "[/v2]").mkdir(parents=True)
    path = written(tmp_path / "[/v2]" / "a.jsonl", [{**x, "dataset": "phantom_slake"} for x in LINES[:3]])
    words = [f"predictions='{path}'", "task.draws=0"]
    assert "[/v2]/a.jsonl" in run_here(tmp_path / "o", "task=score", *words).replace("\n", "")
