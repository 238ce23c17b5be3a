"""`Box` and its conventions; IoU of two sets (equation (5), reading R12)."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from umed.boxes import MATCHES, Box, BoxError, coverage, iou_matched, iou_union, pair_iou, union_area

UNIT = st.floats(0, 1, allow_subnormal=False)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, x1, y0, y1 = (draw(UNIT) for _ in range(4))
    assume(abs(x0 - x1) > 1e-6 and abs(y0 - y1) > 1e-6)
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


SETS = st.lists(boxes(), min_size=1, max_size=4)
BOX = Box(0.1, 0.2, 0.5, 0.6)


def test_every_convention_gives_the_same_box() -> None:
    for made in (
        Box.from_xyxy((10, 10, 50, 30), 100, 50),
        Box.from_xyxy((11, 11, 51, 31), 100, 50, one_based=True),
        Box.from_xywh((10, 10, 40, 20), 100, 50),
        Box.from_cxcywh((0.3, 0.4, 0.4, 0.4)),
        Box.from_points((50, 12, 10, 20, 20, 30, 30, 10), 100, 50),
        Box.from_points((48, 12, 12, 20, 20, 28), 100, 50, margin=2),
    ):
        np.testing.assert_allclose((made.x0, made.y0, made.x1, made.y1), (0.1, 0.2, 0.5, 0.6))
    assert BOX.area == pytest.approx(0.16) and BOX.center == pytest.approx((0.3, 0.4))


@given(boxes(), st.integers(1, 4000), st.integers(1, 4000))
def test_pixels_and_back(box: Box, width: int, height: int) -> None:
    back = Box.from_xyxy(box.to_xyxy(width, height), width, height)
    np.testing.assert_allclose((back.x0, back.y0, back.x1, back.y1), (box.x0, box.y0, box.x1, box.y1), atol=1e-9)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ((30, 0, 10, 10), "out_of_frame"),
        ((0, 0, 0, 0), "out_of_frame"),
        ((200, 200, 300, 300), "out_of_frame"),
        ((float("nan"), 0, 1, 1), "malformed"),
        ((0, 0, float("inf"), 1), "malformed"),
        ((0, 0, 1), "malformed"),
        (("a", 0, 1, 1), "malformed"),
        ((None, 0, 1, 1), "malformed"),
    ],
)
def test_what_is_no_box_says_why(numbers: tuple, reason: str) -> None:
    with pytest.raises(BoxError) as caught:
        Box.from_xyxy(numbers, 100, 100)
    assert caught.value.reason == reason


def test_a_box_is_clipped_to_the_image() -> None:
    assert Box.from_xyxy((-10, -10, 250, 50), 100, 100) == Box(0, 0, 1, 0.5)


@pytest.mark.parametrize("match", MATCHES)
@given(said=boxes(), true=boxes())
def test_one_against_one_is_the_plain_iou(match: str, said: Box, true: Box) -> None:
    x = max(0.0, min(said.x1, true.x1) - max(said.x0, true.x0))
    y = max(0.0, min(said.y1, true.y1) - max(said.y0, true.y0))
    expected = x * y / (said.area + true.area - x * y)
    assert MATCHES[match]([said], [true]) == pytest.approx(expected, abs=1e-9)


@given(SETS, SETS)
def test_union_is_symmetric_in_bounds_and_blind_to_duplicates(a: list[Box], b: list[Box]) -> None:
    value = iou_union(a, b)
    assert 0 <= value <= 1 + 1e-9
    assert value == pytest.approx(iou_union(b, a), abs=1e-9)
    assert value == pytest.approx(iou_union(a + a, b), abs=1e-9)
    assert iou_union(a, a) == pytest.approx(1)
    assert iou_matched(a, a) == pytest.approx(1)
    assert iou_matched(a + a, a) <= 0.5 + 1e-9


@given(boxes(), boxes())
def test_one_only_when_equal(a: Box, b: Box) -> None:
    assume(max(abs(a.x0 - b.x0), abs(a.y0 - b.y0), abs(a.x1 - b.x1), abs(a.y1 - b.y1)) > 1e-3)
    assert pair_iou(a, b) < 1


@pytest.mark.parametrize("match", MATCHES)
def test_nothing_against_something_is_zero(match: str) -> None:
    assert MATCHES[match]([], [BOX]) == MATCHES[match]([BOX], []) == MATCHES[match]([], []) == 0.0


def test_matching_is_the_best_one_not_the_greedy_one() -> None:
    a, b = Box(0, 0, 0.4, 1), Box(0.3, 0, 0.7, 1)
    said = [Box(0.15, 0, 0.55, 1), Box(0.35, 0, 0.75, 1)]
    straight = (pair_iou(said[0], a) + pair_iou(said[1], b)) / 2
    crossed = (pair_iou(said[0], b) + pair_iou(said[1], a)) / 2
    assert iou_matched(said, [a, b]) == pytest.approx(max(straight, crossed))
    assert iou_matched(said[::-1], [a, b]) == pytest.approx(max(straight, crossed))


@given(SETS, st.integers(1, 12), st.integers(1, 12))
def test_coverage_adds_up_to_the_area(several: list[Box], rows: int, columns: int) -> None:
    share = coverage(several, [c / columns for c in range(columns + 1)], [r / rows for r in range(rows + 1)])
    assert share.shape == (rows, columns) and share.min() >= 0 and share.max() <= 1
    assert share.mean() == pytest.approx(union_area(several), abs=1e-6)


@given(boxes())
def test_union_area_of_one_box_is_its_own(box: Box) -> None:
    assert union_area([box]) == pytest.approx(box.area, abs=1e-9)


def test_coverage_by_hand() -> None:
    share = coverage([Box(0.25, 0, 0.75, 0.5), Box(0.5, 0, 0.75, 0.5)], (0, 0.5, 1), (0, 0.5, 1))
    np.testing.assert_allclose(share, [[0.5, 0.5], [0, 0]])
