"""Boxes as text in four conventions: nothing readable is lost, nothing unreadable becomes a box."""

import json
from itertools import chain

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from umed.boxes import Box
from umed.models.backbones.float_codec import FloatCodec
from umed.models.backbones.json_codec import JsonCodec
from umed.models.backbones.loc_codec import TOKENS, LocCodec
from umed.models.backbones.plain_codec import PlainCodec
from umed.models.backbones.ref_box_codec import RefBoxCodec
from umed.models.codec import BoxCodec

CODECS: dict[str, BoxCodec] = {
    "pixels": JsonCodec(),
    "pixels in steps": JsonCodec(step=10),
    "thousandths in steps": JsonCodec(scale=1000, step=50),
    "rows first": JsonCodec("box_2d", scale=1000, rows_first=True),
    "tags": RefBoxCodec(),
    "locations": LocCodec(),
    "fractions": FloatCodec(),
    "fine fractions": FloatCodec(3),
    "plain": PlainCodec(),
    "plain in steps": PlainCodec(step=20),
}
UNIT = st.one_of(st.floats(0, 1, allow_subnormal=False), st.sampled_from([0.0, 0.004, 0.995, 0.9999, 1.0]))
SIZE = st.integers(28, 2000)
HUGE = "9" * 5000
EVERY_CODEC = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, x1, y0, y1 = (draw(UNIT) for _ in range(4))
    assume(x0 != x1 and y0 != y1)
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


def corners(box: Box) -> np.ndarray:
    return np.array([box.x0, box.y0, box.x1, box.y1])


@EVERY_CODEC
@settings(max_examples=50)
@given(several=st.lists(boxes(), min_size=1, max_size=4), width=SIZE, height=SIZE)
@example(several=[Box(0.5 / 100, 0.5 / 100, 1.4 / 100, 1.4 / 100)], width=100, height=100)  # both corners round to 1
@example(several=[Box(1.5 / 100, 0, 2.5 / 100, 1)], width=100, height=100)
@example(several=[Box(0.999, 0.999, 1, 1), Box(0, 0, 1, 1), Box(0, 0, 1e-9, 1e-9)], width=28, height=1400)
@example(several=[Box(0.5, 0.5, 1.0, 1.0)], width=1008, height=1008)  # no multiple of the step
@example(several=[Box(0, 0.99609375, 1, 1)], width=28, height=131)
def test_boxes_come_back_in_reading_order_within_half_a_step(
    codec: BoxCodec, several: list[Box], width: int, height: int
) -> None:
    """A box thinner than a step is widened to one, inwards where it touches the end of a frame between two steps."""
    back = codec.read(f"At {codec.write(several, 'stone', width, height)}.", width, height)
    assert back is not None and len(back) == len(several)
    step = np.array(codec.quantum(width, height) * 2)
    for one, two in zip(sorted(several, key=lambda b: (b.y0, b.x0)), back, strict=True):
        true, read = corners(one), corners(two)
        thin = np.tile(true[2:] - true[:2] < step[:2], 2)
        assert (np.abs(read - true) <= step * np.where(thin, 1.5, 0.5) + 1e-9).all()


@given(box=boxes(), size=SIZE, step=st.sampled_from([5, 10, 50]))
@example(box=Box(0.5, 0.5, 1.0, 1.0), size=1008, step=10)
def test_coordinates_are_multiples_of_the_step_within_the_frame(box: Box, size: int, step: int) -> None:
    values = json.loads(JsonCodec(step=step).write([box], "stone", size, size))[0]["bbox_2d"]
    assert all(0 <= v <= size and (v % step == 0 or v == size) for v in values)


@pytest.mark.parametrize(
    ("codec", "box", "text"),
    [
        (JsonCodec(), Box(0.25, 0.5, 0.75, 1), '[{"bbox_2d":[50,50,150,100],"label":"a \\"stone\\""}]'),
        (JsonCodec("box_2d", scale=1000, rows_first=True), Box(0.1, 0.2, 0.3, 0.8),
         '[{"box_2d":[200,100,800,300],"label":"a \\"stone\\""}]'),
        (RefBoxCodec(), Box(0.25, 0.5, 0.75, 1), '<ref>a "stone"</ref><box>[[250, 500, 750, 1000]]</box>'),
        (LocCodec(), Box(0, 0.5, 0.25, 1), "<loc0512><loc0000><loc1023><loc0256>"),
        (FloatCodec(), Box(0, 0.5, 0.254, 1), "[0.00, 0.50, 0.25, 1.00]"),
        (PlainCodec(), Box(0, 0.5, 0.254, 1), "[0, 500, 254, 1000]"),
        (PlainCodec(step=20), Box(0, 0.5, 0.254, 1), "[0, 500, 260, 1000]"),
    ],
)  # fmt: skip
def test_the_text_is_that_of_the_convention(codec: BoxCodec, box: Box, text: str) -> None:
    assert codec.write([box], 'a "stone"', 200, 100) == text


FIRST, SECOND = (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8)
J, R, L, F = "pixels", "tags", "locations", "fractions"  # of 1000 x 1000 px
LOC = "<loc0205><loc0102><loc0409><loc0307>"
LOC2 = "<loc0614><loc0512><loc0818><loc0716>"
ONE = {
    J: '{"bbox_2d":[100,200,300,400],"label":"stone"}',
    R: "[100, 200, 300, 400]",
    L: LOC,
    F: "[0.1, 0.2, 0.3, 0.4]",
}
OTHER = {
    J: '{"bbox_2d":[500,600,700,800]}',
    R: "[500, 600, 700, 800]",
    L: LOC2,
    F: "[.5, .6, .7, .8]",
}


def listed(codec: str, *items: str) -> str:
    return {J: f"[{','.join(items)}]", R: f"<box>[{', '.join(items)}]</box>"}.get(codec, " ; ".join(items))


def broken(codec: str, *numbers: str) -> str:
    """One box whose corners are these words, x0 first."""
    words = ",".join(numbers)
    return {J: f'{{"bbox_2d":[{words}]}}', L: "".join(f"<loc{n}>" for n in numbers)}.get(codec, f"[{words}]")


NO_BOX = {
    J: [("300", "200", "100", "400"), ("200", "200", "200", "400"), ("0",) * 4, ("NaN", "0", "1", "1"),
        ("0", "0", "Infinity", "1"), ("-Infinity", "0", "Infinity", "1"), ("2000", "2000", "3000", "3000"),
        ("-300", "-300", "-100", "-100"), ("100", "200", "300"), ("1", "2", "3", "4", "5"), ("a", "b", "c", "d"),
        ('"a"',) * 4, (HUGE,) * 4, (HUGE, "0", "1", "1"), ("9" * 400, "0", "1", "1"), ("9" * 20,) * 4,
        ("null",) * 4, ()],
    R: [("300", "200", "100", "400"), ("0",) * 4, ("NaN", "0", "1", "1"), ("0", "0", "Infinity", "1"),
        ("2000", "2000", "3000", "3000"), ("100", "200", "300"), ("1", "2", "3", "4", "5"), ("a", "b", "c", "d"),
        (HUGE,) * 4, (HUGE, "0", "1", "1"), ()],
    L: [("0030", "0040", "0010", "0020"), ("0000",) * 4, ("10", "20", "30", "40"), ("nan0", "0000", "0001", "0001"),
        (HUGE, "0000", "0001", "0001"), ("0010", "0020", "0030")],
    F: [("0.5", "0.5", "0.1", "0.1"), ("nan", "0", "1", "1"), ("inf", "0", "1", "1"), ("0.1", "0.2", "0.3"),
        ("0.1", "0.1", "7e30", "1"), (HUGE, "0", "1", "1"), ("0",) * 4],
}  # fmt: skip
READ: list[tuple[str, str, list | None]] = [
    *chain.from_iterable(
        [
            (c, listed(c, ONE[c]), [FIRST]),
            (c, listed(c, ONE[c], OTHER[c]), [FIRST, SECOND]),
            (c, f"```json\n{listed(c, ONE[c])}\n``` and {listed(c, OTHER[c])} cyst", [FIRST, SECOND]),
            (c, listed(c, ONE[c], OTHER[c][:-3]).removesuffix("</box>"), [FIRST]),  # cut off inside the second box
            (c, f"<think>{listed(c, OTHER[c])} or not?</think> {listed(c, ONE[c])}", [FIRST]),
            (c, f"<unused94>thought\n{listed(c, OTHER[c])}<unused95>{listed(c, ONE[c])}", [FIRST]),
            (c, f"{listed(c, OTHER[c])} or not?\n</think>\n\n{listed(c, ONE[c])}", [FIRST]),  # the template began it
            (c, f"<think>{listed(c, ONE[c])} and no end", None),
            (c, f"<unused94>{listed(c, ONE[c])} and no end", None),
            (c, "", None),
            (c, "A stone is seen on the left.", None),
        ]
        for c in ONE
    ),
    *((c, listed(c, broken(c, *numbers)), None) for c in NO_BOX for numbers in NO_BOX[c]),
    *((c, listed(c, broken(c, *numbers), ONE[c]), [FIRST]) for c in NO_BOX for numbers in NO_BOX[c] if c != L),
    (L, f"<loc0030><loc0020><loc0010><loc0040> {LOC}", [FIRST]),
    (J, ONE[J].replace("[100,200", "[-5,200").replace("300,4", "1100,4"), [(0, 0.2, 1, 0.4)]),  # clipped
    (R, "<box>[[-50, 200, 1010, 400]]</box>", [(0, 0.2, 1, 0.4)]),
    (F, "[-0.1, -0.02, 0.5, 1.05]", [(0, 0, 0.5, 1)]),
    (L, "<loc0205><loc0102><loc0409><loc1100>", [(0.1, 0.2, 1, 0.4)]),
    (L, LOC.replace("><", "> <"), [FIRST]),
    (L, f"{LOC}{LOC2}", [FIRST, SECOND]),
    (L, "<loc0010><loc0020><loc0030> x <loc0040>", None),
    (J, 'Seen here:\n```json\n[\n  {"bbox_2d": [100, 200.0, 300, 400], "label": "stone"}\n]\n```\nDone.', [FIRST]),
    (J, "[100, 200, 300, 400]", None),
    (J, '[{"bbox_2d":null}]', None),
    (J, '[{"bbox_2d":7}]', None),
    (J, '[{"bbox_2d":"1234"}]', None),
    (J, '[{"box":[100,200,300,400]}]', None),
    (J, '[{"bbox_2d":[' + "[" * 5000 + "]" * 5000 + "]}]", None),
    (R, "[[100, 200, 300, 400]]", [FIRST]),
    (R, "<box>[ [100, 200, 300, 400] , [50, 6", [FIRST]),
    (R, "[100, 200, 300, 400]", None),
    (R, "<ref>stone</ref>", None),
    (R, "<box>null</box>", None),
    (R, "<box>" + "[" * 5000 + "]" * 5000 + "</box>", None),
    ("plain", "A stone at [100, 200, 300, 400], [500,600,700,800].", [FIRST, SECOND]),
    ("plain", "<think>[500, 600, 700, 800]</think>[100, 200, 300, 400", None),
    ("plain", f"[{HUGE}, 0, 1, 1] [300, 200, 100, 400] [1, 2, 3] [NaN, 0, 1, 1]", None),
    ("rows first", '[{"box_2d":[200,100,400,300]}]', [FIRST]),
    ("rows first", '[{"box_2d":[0,0,100]}]', None),
    ("rows first", '[{"bbox_2d":[200,100,400,300]}]', None),  # another family's
]


def test_what_can_be_read_is_read_and_nothing_else() -> None:
    for codec, text, expected in READ:
        boxes = CODECS[codec].read(text, 1000, 1000)
        if expected is None:
            assert boxes is None, (codec, text[:80])
        else:
            assert boxes is not None and len(boxes) == len(expected), (codec, text[:80])
            for box, four in zip(boxes, expected, strict=True):
                assert corners(box) == pytest.approx(four, abs=1e-3), (codec, text[:80])


FOREIGN = [
    *((c, of) for c in (J, R, "rows first", "plain") for of in (
        "0.1, 0.2, 0.5, 0.6", "0, 0, 0.5, 1", "0.0, 0.0, 1.0, 1.0", "0.12, 0.3, 1.02, 0.9", "0, 50, 55, 9999",
        "0, 50, 55, 1101", "-101, 50, 55, 200", "x1, y1, x2, y2", "1000, 1000, 4000, 4000",
    )),
    *((F, of) for of in ("0, 0, 120, 90", "100, 200, 300, 400", "12, 30, 45, 66", "0.2, 0.2, 1.2, 1", "-0.5, 0, 1, 1",
                         "0.2, 0.2, 99999999999999999999, 1", "x1, y1, x2, y2")),
]  # fmt: skip
NATIVE = [
    *((c, of) for c in (J, R, "rows first", "plain") for of in (
        "0, 0, 1, 1", "999, 999, 1000, 1000", "200.0, 100.5, 400, 300", "-3, 0, 1004, 900", "0.5, 0.5, 2, 2",
    )),
    *((F, of) for of in ("0, 0, 1, 1", "0.00, 0.00, 0.01, 0.01", "0.98, 0.99, 1.01, 1.02", "-0.01, 0, .5, 1")),
]  # fmt: skip


def written(codec: str, numbers: str) -> str:
    return {J: f'[{{"bbox_2d":[{numbers}]}}]', "rows first": f'[{{"box_2d":[{numbers}]}}]'}.get(codec, f"[[{numbers}]]")


def test_numbers_of_another_convention_are_no_box_and_a_small_box_is_one() -> None:
    """Fractions where 1000 units are meant, the reverse, corners far outside, placeholders; small overshoots stay."""
    for codec, numbers in FOREIGN:
        assert CODECS[codec].read(written(codec, numbers), 1000, 1000) is None, (codec, numbers)
    for codec, numbers in NATIVE:
        assert CODECS[codec].read(written(codec, numbers), 1000, 1000), (codec, numbers)
    assert LocCodec().read("<loc0205><loc0102><loc0409><loc9999>", 9, 9) is None
    seen = JsonCodec()  # pixels of a picture of 448 x 448: 493 is an overshoot, 0-1000 is another convention
    assert seen.read(written(J, "0, 0, 492, 448"), 448, 448) == [Box(0, 0, 1, 1)]
    assert seen.read(written(J, "100, 100, 900, 900"), 448, 448) is None
    mixed = written(J, "0.1, 0.2, 0.5, 0.6") + ONE[J]
    assert len(seen.read(mixed, 1000, 1000) or ()) == 1


def test_places_in_a_thought_are_not_those_of_a_box() -> None:
    for codec in ONE:
        text = f"<think>at {listed(codec, OTHER[codec])}?</think> At {listed(codec, ONE[codec])}"
        places = CODECS[codec].spans(text)
        assert len(places) == 1 and text[slice(*places[0])] in ONE[codec] and places[0][0] > text.index("</think>")
        assert not CODECS[codec].spans(text.replace("</think>", ""))


PIECES = st.sampled_from(
    [*"[]{},:. -0", '{"bbox_2d":[', '"label":"', "<ref>", "</ref>", "<box>", "</box>", "<loc0001>", "<loc1023>", "<loc",
     "<seg012>", "; ", "<think>", "</think>", "0.5", "12", "stone"]
)  # fmt: skip


@EVERY_CODEC
@settings(max_examples=60)
@given(text=st.one_of(st.lists(PIECES).map("".join), st.text(max_size=40)))
def test_no_text_breaks_it(codec: BoxCodec, text: str) -> None:
    for answer in (text, f'[{{"bbox_2d":[{text}]}}]', f"<box>[[{text}]]</box>"):
        for box in codec.read(answer, 100, 100) or ():
            assert 0 <= box.x0 < box.x1 <= 1
        assert all(0 <= a < b <= len(answer) for a, b in codec.spans(answer))
        plain = codec.strip(answer)
        assert not isinstance(codec, LocCodec) or not {t for t in ("<loc1023>", "<seg012>") if t in plain}


@pytest.mark.parametrize("codec", ONE)
def test_spans_hold_the_coordinates_and_strip_removes_boxes_and_thoughts(codec: str) -> None:
    text = f"A stone at {listed(codec, ONE[codec], OTHER[codec])} is seen."
    spans = [text[a:b] for a, b in CODECS[codec].spans(text)]
    assert spans == [item[: item.index("]") + 1].removeprefix("{") if codec == J else item
                     for item in (ONE[codec], OTHER[codec])]  # fmt: skip
    plain = CODECS[codec].strip(f"<think>a cyst?</think><unused94>hm<unused95>{text}")
    assert plain.replace(",", "").replace(";", "").split() == ["A", "stone", "at", "is", "seen."]


def test_what_remains_of_tags_and_location_tokens() -> None:
    plain = [CODECS[c].strip(text).split() for c, text in (
        (R, "The <ref>stone</ref> at [[1, 2, 3, 4]], left."),
        (R, "A stone <ref>stone</ref><box>[[1, 2, 3"),
        (R, "<box>[[NaN, 0, 1, 1]]</box> left"),
        (R, "<box>[[1, 2, 3, 4]] left"),  # an end that was never written
        (L, f"{LOC} stone ; {LOC2} cyst"),
        (L, "A stone at <loc0010><loc0020>"),
    )]  # fmt: skip
    assert plain[0] == ["The", "stone", "at", ",", "left."]
    assert plain[1:4] == [["A", "stone"], ["left"], ["left"]]
    assert plain[4:] == [["stone", ";", "cyst"], ["A", "stone", "at"]]
    assert set(LocCodec().write([Box(0, 0, 1, 1)], "stone", 9, 9).replace("><", "> <").split()) <= set(TOKENS)


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("pixels", '[{"bbox_2d":[10,20,300'),
        ("pixels", '{"bbox":[1,2,3,4]}'),
        ("pixels", '{"bbox_2d":"10,20"}'),
        ("tags", "<ref>a</ref><box>[10, 20, 30, 40]</box>"),
        ("tags", "<box>[[10, 20, 30"),
        ("locations", "<loc0010><loc0020><loc0300>"),
        ("fractions", "[0.1, 0.2, 0.3"),
        ("fractions", "[10%,20%,30%,40%]"),
    ],
)
def test_a_malformed_box_is_recognized_and_not_read(codec: str, text: str) -> None:
    answer = f"The image is abnormal: {text}"
    assert CODECS[codec].has_box_syntax(answer) and CODECS[codec].read(answer, 1000, 1000) is None


@EVERY_CODEC
@pytest.mark.parametrize(
    "text",
    ["", "The image is normal. There is no abnormality.", "A 3 x 4 cm mass [1].", "<think>[1, 2, 3, 4]</think>No."],
)
def test_plain_language_has_no_box_syntax(codec: BoxCodec, text: str) -> None:
    assert not codec.has_box_syntax(text)


@EVERY_CODEC
def test_what_a_codec_writes_has_box_syntax(codec: BoxCodec) -> None:
    assert codec.has_box_syntax(codec.write([Box(0.1, 0.2, 0.5, 0.6)], "stone", 1000, 1000))
