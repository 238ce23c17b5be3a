"""A prediction and its line in a file say the same."""

import json
from typing import Any

import pytest
from answers import diagnose, line, parse, predict
from hypothesis import given
from hypothesis import strategies as st

from umed.boxes import Box
from umed.evaluation.prediction import Prediction, short
from umed.evaluation.question import BoxQuestion, Question

ORDER = ["id", "dataset", "split_file", "question", "answer", "answer_type", "choices", "output", "boxes", "scores",
         "image"]  # fmt: skip
OF_MAU = ["source", "category", "gold_boxes", "width", "height", "categories"]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAME = TEXT.filter(str.strip)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
CORNERS = st.tuples(FINITE, FINITE, FINITE, FINITE)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
ITEM: dict[str, st.SearchStrategy[Any]] = {
    "id": NAME, "dataset": TEXT, "split_file": st.none() | TEXT, "question": TEXT, "answer_type": TEXT,
    "answer": st.none() | TEXT | st.integers() | FINITE, "choices": st.none() | TEXTS, "image": st.none() | TEXT,
    "closed_by": st.none() | TEXT,
}  # fmt: skip
BOXED = {**ITEM, "source": NAME, "category": NAME, "gold_boxes": st.lists(CORNERS, max_size=2).map(tuple),
         "width": st.integers(1, 5000), "height": st.integers(1, 5000), "categories": TEXTS}  # fmt: skip
PREDICTIONS = st.builds(
    Prediction,
    question=st.builds(Question, **ITEM) | st.builds(BoxQuestion, **BOXED),
    output=TEXT,
    boxes=st.none() | st.lists(CORNERS, max_size=2).map(tuple),
    scores=st.none() | st.dictionaries(TEXT, FINITE, max_size=3),
)


@given(PREDICTIONS)
def test_a_line_read_back_is_the_prediction(prediction: Prediction) -> None:
    written = prediction.to_line()
    read = json.loads(json.dumps(written))
    assert Prediction.from_line(read, type(prediction.question)) == prediction
    own = OF_MAU if isinstance(prediction.question, BoxQuestion) else []
    closed = [] if prediction.question.closed_by is None else ["closed_by"]
    assert list(written) == [*ORDER, *closed, *own] and list(read) == list(written)


def test_what_may_be_left_out_is_filled_in() -> None:
    needed = {"id": "1", "dataset": "slake", "answer": "CT", "answer_type": "open", "output": "ct"}
    full = {**dict.fromkeys(ORDER), **needed, "question": ""}
    assert parse(needed).to_line() == full
    assert parse({**needed, "choices": [], "unknown": 1}).to_line() == full


def test_boxes_without_area_are_none() -> None:
    assert diagnose(0, "a", "", [[0, 0, 10, 5], [3, 0, 3, 9], [20, 0, 25, 5]]).said_boxes == [Box(0, 0, 0.5, 0.25)]
    assert diagnose(0, "a", "", []).said_boxes == [] and diagnose(0, "a", "", None).said_boxes is None
    assert predict(0, "slake", "open", "CT", "", boxes=[[0, 0, 1, 1]]).said_boxes is None


@pytest.mark.parametrize(
    ("given", "answer", "has_thought", "is_unreadable"),
    [
        ({"output": "Yes"}, "Yes", False, False),
        ({"output": "<think>No?</think>\n\nYes"}, "Yes", True, False),
        ({"output": "No?\n</think>\n\n<answer>Yes</answer>"}, "Yes", True, False),
        ({"output": "<think>Yes", "scores": {"A": 1.0}}, "", True, True),
        ({"output": "<think>Yes</think>"}, "", True, True),
        ({"output": " \n"}, " \n", False, True),
        ({"output": "", "scores": {"A": 1.0}}, "", False, False),  # scores alone
        ({"output": "", "boxes": []}, "", False, False),  # no region is an answer too
        ({"output": "<think>Yes", "boxes": [[0, 0, 1, 1]]}, "", True, True),  # the boxes stay
    ],
)
def test_a_thought_is_no_answer(given: dict, answer: str, has_thought: bool, is_unreadable: bool) -> None:
    made = predict(0, "slake", "open", "CT", **given)
    assert made.output == given["output"] == made.to_line()["output"]
    assert (made.final_answer, made.has_thought, made.is_unreadable) == (answer, has_thought, is_unreadable)


WRONG = (True, {"a": "b"}, [["x"]], [1, 2], [float("inf")], float("nan"))


@pytest.mark.parametrize("question_type", [Question, BoxQuestion])
def test_a_wrong_value_is_told_by_its_field(question_type: type[Question]) -> None:
    """Of every field: its name, the value and what is expected, in one line."""
    good = {**line(0, "slake", "open", "CT", "ct"), "source": "a", "category": "x", "gold_boxes": [], "width": 1}
    good |= {"height": 1, "categories": [], "closed_by": None}
    fields = {**Prediction.model_fields, **question_type.model_fields}
    for name in fields.keys() - {"extra"}:
        for wrong in WRONG:
            with pytest.raises(ValueError) as told:
                Prediction.from_line({**good, name: wrong}, question_type)
            assert str(told.value) == f"{name} is {short(wrong)}: {fields[name].description} is expected"
            assert "\n" not in str(told.value)
        if fields[name].is_required():
            with pytest.raises(ValueError, match=f"^no {name}: .* is expected$"):
                Prediction.from_line({k: v for k, v in good.items() if k != name}, question_type)


def test_a_long_or_strange_value_is_told_in_short() -> None:
    assert short("a" * 99) == "'" + "a" * 76 + "..." and short("a\nb\ud800") == r"'a\nb\ud800'"
