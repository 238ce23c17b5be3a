"""Questions: what they belong to, their gold answer as text, and the record that a prompt is made from."""

from typing import Any

import pytest
from pydantic import ValidationError

from umed.boxes import Box
from umed.evaluation.question import BoxQuestion, Question, without_stand_in

FIELDS: dict[str, Any] = {"id": "1", "dataset": "slake", "answer": "CT", "answer_type": "open"}
REGION: dict[str, Any] = {"source": "kvasir", "category": "polyp", "width": 20, "height": 10}


def test_a_question_stands_for_itself() -> None:
    question = Question(**FIELDS, question="Where?", image="a.png", choices=())
    assert (question.part, question.gold, question.choices, question.split) == ("slake", "CT", None, "not stated")
    told = question.model_copy(update={"split_file": "test.json", "closed_by": "yes_no"})
    assert told.split == "test.json, closed by yes_no"
    assert not question.is_synthetic and Question(**{**FIELDS, "dataset": "phantom_slake"}).is_synthetic
    record = question.to_record("Where is it?", 30, 20)
    assert (record.id, record.source, record.image, record.query) == ("1", "slake", "a.png", "Where is it?")
    assert (record.width, record.height, record.boxes) == (30, 20, ())
    with pytest.raises(ValidationError, match="frozen"):
        question.answer = "MR"  # type: ignore[misc]


def test_a_number_or_nothing_may_be_gold() -> None:
    assert [Question(**{**FIELDS, "answer": a}).gold for a in (2, 10**20, 1.5, None, " left ")] == [
        "2",
        str(10**20),
        "1.5",
        "None",
        " left ",
    ]
    for wrong in (True, float("nan"), ["left"]):
        with pytest.raises(ValidationError):
            Question(**{**FIELDS, "answer": wrong})


def test_what_else_the_data_set_says_stays_in_memory() -> None:
    question = Question(**FIELDS, extra={"q_lang": "en"})
    assert "extra" not in question.model_dump() and "q_lang" not in repr(question)


def test_a_region_without_area_is_none() -> None:
    corners = ((0, 0, 10, 5), (4, 4, 4, 8), (25, 0, 30, 9))
    question = BoxQuestion(**FIELDS, **REGION, gold_boxes=corners)
    assert question.true_boxes == [Box(0, 0, 0.5, 0.5)] and question.part == "kvasir"
    assert not question.is_synthetic
    assert question.model_copy(update={"source": "phantom_kvasir"}).is_synthetic


def test_a_stand_in_follows_the_rules_of_its_data_set() -> None:
    assert without_stand_in("phantom_slake") == without_stand_in("slake") == "slake"
