"""What a reply must say, and what is refused, each with its reason."""

import json
import time
from typing import Any

import pytest

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


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": [[109.9, 21, 490.1, 99]]},  # 1 % of 1000 px, 1 px of 200 px is less than 1 %
        {"boxes": [[100, 22, 500, 98]]},
        {"category": "nephrolith", "recognition": "A nephrolith."},
    ],
)
def test_what_is_near_enough(changes: dict[str, Any]) -> None:
    assert read(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"boxes": [[110.1, 20, 500, 100]]}, "other boxes"),
        ({"boxes": [[100, 22.1, 500, 100]]}, "other boxes"),
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


@pytest.mark.parametrize("garbage", ['{"a":', "{"])
def test_garbage_is_given_up_soon(garbage: str) -> None:
    started = time.process_time()
    with pytest.raises(Unusable, match="no JSON object"):
        read_parts(garbage * (250_000 // len(garbage)), RECORD, {})
    assert time.process_time() - started < 1


@pytest.mark.parametrize("text", ["1" * 16_000, "[ " * 8_000, "1," * 8_000, "1, 2, 3, 4 " * 1_500])
def test_long_texts_are_read_soon(text: str) -> None:
    started = time.process_time()
    with pytest.raises(Unusable):
        read(localization=text)
    assert time.process_time() - started < 1
