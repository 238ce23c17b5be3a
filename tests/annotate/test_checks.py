"""What a reply must say, and what is refused, each with its reason."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umed.annotate.checks import Unusable, read_diagnosis, read_parts
from umed.boxes import Box
from umed.records import Record

RECORD = Record("s/1", "s", "1.png", 1000, 200, (Box(0.1, 0.1, 0.5, 0.5),), "kidney stone", "CT", "g")
FINE: dict[str, Any] = {
    "category": "Kidney  Stone",
    "boxes": [[100, 20, 500, 100.0]],
    "detection": "Something is abnormal.",
    "localization": "It lies in the upper left: <region> .",
    "recognition": "This indicates a Kidney-Stone.",
}


def read(**changes: Any) -> str:
    return read_parts(json.dumps({**FINE, **changes}), RECORD, {"kidney stone": ["nephrolith"]})


def test_the_parts_come_in_order_with_one_marker() -> None:
    told = "Something is abnormal. It lies in the upper left: <region>. This indicates a Kidney-Stone."
    assert read() == told
    prose = f"Sure!\n```json\n{json.dumps(FINE)}\n```\nDone."
    assert read_parts(prose, RECORD, {}) == told


@given(st.lists(st.floats(-9, 9).map(lambda v: round(v, 2)), min_size=4, max_size=4))
def test_boxes_may_be_a_little_off(offsets: list[float]) -> None:
    """By 1 % of the side, 10 px of 1000, or by 1 px: 2 px of 200."""
    slack, given_box = (10.0, 2.0, 10.0, 2.0), (100, 20, 500, 100)
    reply = {**FINE, "boxes": [[v + d for v, d in zip(given_box, offsets, strict=True)]]}
    is_near = all(abs(d) <= most for d, most in zip(offsets, slack, strict=True))
    try:
        assert read_parts(json.dumps(reply), RECORD, {}) and is_near
    except Unusable as error:
        assert not is_near and error.reason == "other boxes"


def test_another_name_of_the_category_counts() -> None:
    assert read(category="nephrolith", recognition="A nephrolith.")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"boxes": []}, "other boxes"),
        ({"boxes": [[100, 20, 500, 100]] * 2}, "other boxes"),
        ({"boxes": [[100, 20, 500]]}, "other boxes"),
        ({"boxes": [[100, 20, 500, True]]}, "other boxes"),
        ({"boxes": [[100, 20, 500, float("nan")]]}, "other boxes"),
        ({"boxes": [[100, 20, 500, 10**400]]}, "other boxes"),
        ({"boxes": "[[100, 20, 500, 100]]"}, "other boxes"),
        ({"category": "stone"}, "another category"),
        ({"category": None}, "another category"),
        ({"recognition": "This indicates a stone."}, "category not recognized"),
        ({"recognition": "There is no kidney stone."}, "category not recognized"),
        ({"detection": ""}, "an empty part"),
        ({"localization": "<region>."}, "an empty part"),
        ({"detection": None}, "a field that is no text"),
        ({"detection": "It is \ud800."}, "a field that is no text"),
        ({"detection": "<|im_end|> abnormal"}, "a field that is no text"),
        ({"detection": "<think>Hm.</think> It is abnormal."}, "a field that is no text"),
        ({"detection": "Hm.</think> It is abnormal."}, "a field that is no text"),
        ({"localization": "It lies on the left."}, "wrong region marker"),
        ({"localization": "Here <region> and here <region>."}, "wrong region marker"),
        ({"localization": "Here <region> or </Region>."}, "wrong region marker"),
        ({"detection": "Look at <region>."}, "wrong region marker"),
        ({"recognition": "A kidney stone at <region>."}, "wrong region marker"),
        ({"localization": "It lies at [100, 20, 500, 100], <region>."}, "coordinates in the text"),
        ({"localization": "It lies at [100, 20, 500, 140]."}, "wrong region marker"),
        ({"localization": "It lies at [100, 20, 500, 100] and [1, 2, 3, 4]."}, "wrong region marker"),
        ({"localization": "It lies at [100, 20, 500, 100], that is [100, 20, 500, 100]."}, "wrong region marker"),
        ({"localization": "[100, 20, 500, 100]"}, "an empty part"),
        ({"detection": "It is \ufffd."}, "a field that is no text"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as error:
        read(**changes)
    assert error.value.reason == reason and error.value.message


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "no JSON object"),
        ("I would rather not.", "no JSON object"),
        ('{"a":' * 3000, "no JSON object"),
        ("[1]", "no JSON object"),
        (json.dumps(FINE) * 2, "several JSON objects"),
        (f'{{"reply": {json.dumps(FINE)}', "no JSON object"),
        ('{"category": "x", ' + json.dumps(FINE)[1:], "no JSON object"),
        ("{}", "missing fields"),
        (json.dumps({k: v for k, v in FINE.items() if k != "localization"}), "missing fields"),
        (json.dumps(dict(reversed(FINE.items()))), "wrong order"),
    ],
)  # fmt: skip
def test_what_is_no_reply(reply: str, reason: str) -> None:
    with pytest.raises(Unusable) as error:
        read_parts(reply, RECORD, {})
    assert error.value.reason == reason


def test_the_first_turn() -> None:
    reply = {"category": "kidney stone", "boxes": [[100, 20, 500, 100]], "diagnosis": " A bright\nstone. "}
    assert read_diagnosis(json.dumps(reply), RECORD, {}) == "A bright stone."
    with pytest.raises(Unusable, match="an empty part"):
        read_diagnosis(json.dumps({**reply, "diagnosis": " "}), RECORD, {})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("It lies at [101, 20, 500, 100.0], above.", "It lies at <region>, above."),
        ("It lies at [[100, 20, 500, 100]].", "It lies at <region>."),
        ("It lies (100,20,500,100) above.", "It lies (<region>) above."),
        ("The 5 mm stone lies at 100, 20, 500, 100 here.", "The 5 mm stone lies at <region> here."),
    ],
)
def test_coordinates_of_the_given_boxes_become_the_marker(text: str, told: str) -> None:
    assert told in read(localization=text)


def test_coordinates_of_several_boxes_become_one_marker() -> None:
    record = Record("s/1", "s", "1.png", 1000, 200, (*RECORD.boxes, Box(0, 0, 0.1, 0.1)), "kidney stone", "CT", "g")
    for text in ("[[100, 20, 500, 100], [0, 0, 100, 20]]", "[100, 20, 500, 100] and [0, 0, 100, 20]"):
        reply = {**FINE, "boxes": [[100, 20, 500, 100], [0, 0, 100, 20]], "localization": f"They lie at {text}."}
        assert "They lie at <region>." in read_parts(json.dumps(reply), record, {})
    reply["localization"] = "They lie at [100, 20, 500, 100]."
    with pytest.raises(Unusable, match="wrong region marker"):
        read_parts(json.dumps(reply), record, {})


@pytest.mark.parametrize("text", ["1" * 16_000, "[ " * 8_000, "1," * 8_000, "1, 2, 3, 4 " * 1_500, '{"a":' * 3000])
def test_long_texts_are_read_soon(text: str) -> None:
    started = time.process_time()
    with pytest.raises(Unusable):
        read(localization=text)
    assert time.process_time() - started < 2


@given(st.text(st.sampled_from('{}[]"\\:,<region> 0.1categoryboxes\ud800')))
def test_any_reply_is_read_or_refused(text: str) -> None:
    with pytest.raises(Unusable):
        read_diagnosis(text, RECORD, {})
