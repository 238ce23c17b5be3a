"""VQA-RAD and SLAKE: what is closed, which language is asked, and files that are not the release."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from answers import SCORERS, build_example, predict

from umed.errors import InputError
from umed.evaluation.scorer import Options, judge_all, to_score_line
from umed.judges.base import JudgeItem, Verdict

SLAKE = {"qid": 1, "img_name": "a.jpg", "question": "a?", "answer": 2}


def test_two_meanings_of_closed(tmp_path: Path) -> None:
    by_type, _ = build_example("vqa_rad", tmp_path / "a")
    by_answer, _ = build_example("vqa_rad", tmp_path / "b", closed_by="yes_no")
    count = [Counter(q.answer_type for q in b.questions()) for b in (by_type, by_answer)]
    assert count == [{"closed": 4, "open": 4}, {"closed": 4, "open": 4}]
    assert {q.id for q in by_type.questions() if q.answer_type == "closed"} == {"1", "4", "8", "9"}
    assert {q.id for q in by_answer.questions() if q.answer_type == "closed"} == {"1", "8", "9", "11"}
    assert {q.closed_by for q in by_answer.questions()} == {"yes_no"}


def test_slake_asks_in_the_chosen_language_and_trains_in_all(tmp_path: Path) -> None:
    chinese, _ = build_example("slake", tmp_path, language="zh")
    both, _ = build_example("slake", tmp_path, language="both")
    assert [q.answer for q in chinese.questions()] == ["包含"] and len(both.questions()) == 6
    assert {q.extra["q_lang"] for q in chinese.train()} == {"en", "zh"}
    validation, _ = build_example("slake", tmp_path, split="validation")
    assert [q.id for q in validation.questions()] == ["11934"]  # of validate.json
    assert validation.splits["slake"].file == "validate.json"
    with pytest.raises(InputError, match="no question in data.benchmark.slake.language=zh"):
        build_example("slake", tmp_path, split="validation", language="zh")[0].questions()


def test_a_language_with_spaces_and_a_row_without_qid(tmp_path: Path) -> None:
    benchmark, _ = build_example("slake", tmp_path)
    rows = [{**SLAKE, "qid": None, "q_lang": "EN "}, {**SLAKE, "qid": None, "q_lang": "zh"}, {**SLAKE, "q_lang": "en"}]
    (tmp_path / "test.json").write_text(json.dumps([rows[0], {**rows[1], "qid": "7"}, {**rows[2], "qid": "8"}]))
    assert [q.id for q in benchmark.questions()] == ["0", "8"]


class WordJudge:
    """Right if the gold answer is a word of the answer; fails on "?"."""

    model = "word"

    def __init__(self) -> None:
        self.asked: list[JudgeItem] = []

    def __call__(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        self.asked += items
        return [Verdict(None if "?" in i.answer else float(i.gold in i.answer.split())) for i in items]


def test_a_judge_decides_about_open_answers_alone() -> None:
    answers = [
        predict(0, "slake", "open", "CT", "a CT scan"), predict(1, "slake", "closed", "No", "no"),
        predict(2, "slake", "open", "CT", "MR"), predict(3, "slake", "open", "CT", " "),
        predict(4, "slake", "open", 2, "?"), predict(5, "vqa_rad", "open", 2, "2 lobes"),
    ]  # fmt: skip
    judge = WordJudge()
    options = Options(open_judge=judge)
    verdicts = judge_all(answers, SCORERS, options)
    assert [v["open_judged"] for v in verdicts] == [True, None, False, False, None, True]
    assert [(i.query, i.gold, i.answer) for i in judge.asked] == [
        ("What?", "CT", "a CT scan"), ("What?", "CT", "MR"), ("What?", "2", "?"), ("What?", "2", "2 lobes"),
    ]  # fmt: skip
    lines = [to_score_line(p, v, options) for p, v in zip(answers, verdicts, strict=True)]
    assert [line.get("judge") for line in lines] == ["word", None, "word", "word", None, "word"]
    assert all("open_judged" not in v for v in judge_all(answers, SCORERS))
