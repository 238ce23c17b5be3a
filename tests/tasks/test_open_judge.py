"""`open_judge=openai` in the tasks that score: a server on the loopback interface says what an answer means."""

import json
from pathlib import Path
from typing import Any

import pytest
from answers import LINES, line, run_here, written
from composed import composed
from hydra.errors import InstantiationException
from pytest_httpserver import HTTPServer
from served import clock, completion, environment, make_httpserver, serve

from umed.evaluation.evaluation_set import check_evaluation
from umed.evaluation.prediction_files import read_judge
from umed.run_files import read_jsonl, read_metrics, write_jsonl

__all__ = ["clock", "environment", "make_httpserver", "serve"]
FAILS = line(6, "slake", "open", "liver", "unclear")
EMPTY = line(7, "slake", "open", "liver", "")


@pytest.fixture
def judge(serve: Any, httpserver: HTTPServer) -> tuple[list[str], list[dict[str, Any]]]:
    """The words that choose the judge, and the requests that came: "lung lung" means "left lung" to it."""

    def reply(body: dict[str, Any]) -> Any:
        answer = body["messages"][1]["content"].split("<answer>")[1]
        return completion("Hm." if "unclear" in answer else json.dumps({"reason": "", "score": int("lung" in answer)}))

    words = ["open_judge=openai", "open_judge.model=some-judge", f"open_judge.base_url={httpserver.url_for('/v1')}"]
    return words, serve(reply)


def test_open_judged_joins_the_rules_with_the_name_of_its_judge(judge: Any, tmp_path: Path) -> None:
    words, came = judge
    path, out = written(tmp_path / "answers.jsonl", [*LINES, FAILS, EMPTY]), tmp_path / "out"
    shown = run_here(out, "task=score", f"predictions={path}", *words)
    scores = {s["id"]: s for s in read_jsonl(out / "scores.jsonl")}
    assert [scores[f"item {k}"].get("open_judged") for k in (0, 1, 2, 3, 5, 6, 7)] == [
        False, True, None, None, False, None, False,
    ]  # fmt: skip
    assert [scores[f"item {k}"].get("judge") for k in (1, 2, 6)] == ["some-judge", None, None]
    metrics = read_metrics(out)
    assert (metrics["slake/open_judged"], metrics["slake/open_judged/n"]) == (1 / 4, 4)
    assert "slake/open_judged/majority" not in metrics and "slake/open_exact/majority" in metrics
    told = "open_judged is the verdict of some-judge on 4 of 5 open answers; 1 could not be judged and do not count"
    assert told in shown and len(came) == 4, "a baseline and an empty answer are not asked about"
    run_here(out, "task=score", f"predictions={path}", *words)
    assert len(came) == 5, "what was judged is not asked for again"


def test_without_a_judge_nothing_changes(tmp_path: Path) -> None:
    path = written(tmp_path / "answers.jsonl", LINES)
    shown = run_here(tmp_path / "out", "task=score", f"predictions={path}", "task.draws=0")
    files = "".join(f.read_text() for f in (tmp_path / "out").rglob("*.json*"))
    assert "open_judged" not in shown + files and '"judge"' not in files


def test_a_judge_that_cannot_be_asked_is_told_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    words = [f"predictions={written(tmp_path / 'answers.jsonl', LINES)}", "open_judge=openai"]
    assert "open_judge: no key" in run_here(tmp_path / "out", "task=score", *words, fails=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InstantiationException, match="open_judge: no key"):  # of `task=evaluate` and the pipeline
        check_evaluation(composed("task=evaluate", "open_judge=openai", f"paths.run_dir={tmp_path}"))


def test_two_models_are_compared_by_their_judge_too(judge: Any, tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl", LINES)
    second = written(tmp_path / "b.jsonl", [{**x, "output": "a lung"} if x["answer"] == "CT" else x for x in LINES])
    shown = run_here(tmp_path / "out", "task=compare", f"predictions=[{first},{second}]", *judge[0])
    compared = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert compared["slake/open_judged/difference"] == pytest.approx(1 / 3)
    assert "open_judged: the verdicts of some-judge" in shown


def test_the_report_of_a_run_names_the_judge_and_asks_no_one(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    folder = run / "predictions" / "sft"
    written(folder / "slake.jsonl", LINES[:2])
    write_jsonl(folder / "scores" / "slake.jsonl", [{"id": "item 0", "open_judged": True, "judge": "some-judge"}])
    (run / "metrics.json").write_text('{"sft/slake/open_judged": 0.5, "sft/slake/open_judged/n": 2}')
    assert read_judge(folder) == "some-judge"
    run_here(out, "task=report", f"predictions={run}", "logger=none", "task.draws=0")
    for name in ("table.txt", "table.csv", "report.html"):
        assert "sft, judged by some-judge" in (out / "report" / name).read_text()
    [row] = [x for x in (out / "report" / "table.txt").read_text().splitlines() if "judged by" in x]
    assert "50.0" in row
