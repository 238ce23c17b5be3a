"""Boxes as JSON: nothing readable is lost, nothing unreadable becomes a box."""

import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from umed.boxes import Box
from umed.models.backbones.json_codec import JsonCodec

CODEC = JsonCodec()
UNIT = st.floats(0, 1, allow_subnormal=False)
SIZE = st.integers(28, 1400)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, x1, y0, y1 = (draw(UNIT) for _ in range(4))
    assume(x0 != x1 and y0 != y1)
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


@given(boxes(), SIZE, SIZE)
@example(Box(0.5 / 100, 0.5 / 100, 1.4 / 100, 1.4 / 100), 100, 100)  # both corners round to 1
@example(Box(1.5 / 100, 0, 2.5 / 100, 1), 100, 100)
@example(Box(0.999, 0.999, 1, 1), 28, 28)
@example(Box(0, 0, 1, 1), 1400, 28)
def test_a_box_comes_back_within_half_a_unit(box: Box, width: int, height: int) -> None:
    (back,) = CODEC.read(CODEC.write([box], "stone", width, height), width, height) or [None]
    assert back is not None
    said, true = back.to_xyxy(width, height), box.to_xyxy(width, height)
    for low, high in ((0, 2), (1, 3)):
        # a box thinner than a unit is widened to one unit
        slack = 0.5 if true[high] - true[low] >= 1 else 1.0
        assert abs(said[low] - true[low]) <= slack + 1e-6
        assert abs(said[high] - true[high]) <= slack + 1e-6


@given(boxes(), st.sampled_from([5, 10, 50]))
@example(Box(0.995, 0.0, 1.0, 0.004), 10)
def test_with_a_step_a_box_comes_back_within_half_a_step(box: Box, step: int) -> None:
    text = JsonCodec(step=step).write([box], "stone", 1000, 1000)
    assert all(value % step == 0 for value in json.loads(text)[0]["bbox_2d"])
    (back,) = CODEC.read(text, 1000, 1000) or [None]
    assert back is not None
    said, true = back.to_xyxy(1000, 1000), box.to_xyxy(1000, 1000)
    for low, high in ((0, 2), (1, 3)):
        slack = step / 2 if true[high] - true[low] >= step else step
        assert abs(said[low] - true[low]) <= slack + 1e-6 and abs(said[high] - true[high]) <= slack + 1e-6


@given(boxes(), st.integers(28, 1400), st.sampled_from([5, 10]))
@example(Box(0.5, 0.5, 1.0, 1.0), 1008, 10)
def test_with_a_step_no_coordinate_leaves_the_frame(box: Box, size: int, step: int) -> None:
    text = JsonCodec(step=step).write([box], "stone", size, size)
    assert all(0 <= value <= size for value in json.loads(text)[0]["bbox_2d"])
    assert CODEC.read(text, size, size) is not None


@given(st.lists(boxes(), min_size=2, max_size=4), SIZE)
def test_several_boxes_come_back_in_reading_order(several: list[Box], size: int) -> None:
    back = CODEC.read(CODEC.write(several, "stone", size, size), size, size)
    assert back is not None and len(back) == len(several)
    ordered = sorted(several, key=lambda b: (b.y0, b.x0))
    assert all(
        abs(b.x0 - s.x0) <= 1.01 / size and abs(b.y1 - s.y1) <= 1.01 / size for b, s in zip(back, ordered, strict=True)
    )


def test_the_text_is_that_of_the_family() -> None:
    text = CODEC.write([Box(0.25, 0.5, 0.75, 1)], 'a "stone"', 200, 100)
    assert text == '[{"bbox_2d":[50,50,150,100],"label":"a \\"stone\\""}]'


BOX = [10, 20, 30, 40]


def read(text: str) -> list[tuple[float, ...]] | None:
    found = CODEC.read(text, 100, 100)
    return found and [tuple(round(v) for v in b.to_xyxy(100, 100)) for b in found]


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d":[10,20,30,40],"label":"stone"}]',
        'Seen here:\n```json\n[\n  {"bbox_2d": [10, 20, 30, 40], "label": "stone"}\n]\n```\nDone.',
        '```\n[{"bbox_2d":[10.0,20.0,30,40],"label":"stone"}]',
        '{"label":"stone","bbox_2d":[10,20,30,40]}',
        '[{"bbox_2d":[10,20,30,40],"label":"stone"},{"bbox_2d":[50,6',  # cut off inside the second box
        '<think>[{"bbox_2d":[1,2,3,4]}] or not?</think> [{"bbox_2d":[10,20,30,40]}]',
        '[{"bbox_2d":[30,20,10,40]},{"bbox_2d":[10,20,30,40]}]',  # the inverted one is left out
        '[{"bbox_2d":[NaN,0,1,1]},{"bbox_2d":[10,20,30,40]},{"bbox_2d":[0,0,Infinity,1]}]',
        '[{"bbox_2d":[200,200,300,300]},{"bbox_2d":[10,20,30,40]}]',  # outside of the frame
    ],
)
def test_what_can_be_read_is_read(text: str) -> None:
    assert read(text) == [tuple(BOX)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A stone is seen on the left.",
        "[10, 20, 30, 40]",
        '[{"bbox_2d":[10,20,3',
        '[{"bbox_2d":[10,20,30],"label":"three numbers"}]',
        '[{"bbox_2d":[10,20,30,40,50]}]',
        '[{"bbox_2d":[10,20,10,40]}]',
        '[{"bbox_2d":[30,40,10,20]}]',
        '[{"bbox_2d":null}]',
        '[{"bbox_2d":7}]',
        '[{"bbox_2d":["a","b","c","d"]}]',
        '[{"bbox_2d":"1234"}]',
        '[{"box":[10,20,30,40]}]',
        '[{"bbox_2d":[NaN,NaN,NaN,NaN]}]',
        '[{"bbox_2d":[-Infinity,0,Infinity,1]}]',
        '[{"bbox_2d":[-30,-30,-10,-10]}]',
        '<think>[{"bbox_2d":[10,20,30,40]}]</think> nothing',
        '<think>[{"bbox_2d":[10,20,30,40]}] and no end',
        '[{"bbox_2d":[0,0,0,0]}]',
        '[{"bbox_2d":[' + "[" * 5000 + "]" * 5000 + "]}]",
    ],
)
def test_what_is_no_box_gives_none_and_never_zeros(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_huge_numbers_do_no_harm(digits: int) -> None:
    huge = "9" * digits
    assert read('[{"bbox_2d":[' + ",".join([huge] * 4) + "]}]") is None
    assert read('[{"bbox_2d":[' + huge + ',0,1,1]},{"bbox_2d":[10,20,30,40]}]') == [tuple(BOX)]


def test_a_box_beyond_the_frame_is_clipped() -> None:
    assert read('[{"bbox_2d":[-5,20,130,40]}]') == [(0, 20, 100, 40)]


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    CODEC.read(text, 100, 100)
    CODEC.read('[{"bbox_2d":[' + text + "]}]", 100, 100)
    for start, end in CODEC.spans(text):
        assert 0 <= start < end <= len(text)


def test_spans_hold_the_coordinates_and_strip_removes_them() -> None:
    text = 'A stone at [{"bbox_2d":[1,2,3,4],"label":"stone"},{"bbox_2d": [5,6,7,8],"label":"stone"}] is seen.'
    assert [text[a:b] for a, b in CODEC.spans(text)] == ['"bbox_2d":[1,2,3,4]', '"bbox_2d": [5,6,7,8]']
    plain = CODEC.strip("<think>a cyst?</think>" + text)
    assert plain.split() == ["A", "stone", "at", "is", "seen."]


def test_another_key_reads_another_family() -> None:
    text = JsonCodec("box_2d").write([Box(0.1, 0.2, 0.3, 0.4)], "x", 1000, 1000)
    assert json.loads(text)[0]["box_2d"] == [100, 200, 300, 400]
    assert CODEC.read(text, 1000, 1000) is None
