"""`Box`: every outside convention comes in right, and the overlap measures are what equation (5) says."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from umed.boxes import (
    Box,
    BoxError,
    coverage,
    iou_best,
    iou_first,
    iou_matched,
    iou_union,
    pair_iou,
    union_area,
)

SIZE = 16  # grid on which a raster counts areas exactly


@st.composite
def grid_boxes(draw: st.DrawFn) -> Box:
    x0, y0 = draw(st.integers(0, SIZE - 1)), draw(st.integers(0, SIZE - 1))
    x1, y1 = draw(st.integers(x0 + 1, SIZE)), draw(st.integers(y0 + 1, SIZE))
    return Box(x0 / SIZE, y0 / SIZE, x1 / SIZE, y1 / SIZE)


sets = st.lists(grid_boxes(), max_size=4)
filled = st.lists(grid_boxes(), min_size=1, max_size=4)
sides = st.integers(1, 3000)


def raster(boxes: list[Box]) -> np.ndarray:
    grid = np.zeros((SIZE, SIZE), bool)
    for b in boxes:
        x0, y0, x1, y1 = (round(v) for v in b.to_xyxy(SIZE, SIZE))
        grid[y0:y1, x0:x1] = True
    return grid


def close(a: Box, b: Box) -> bool:
    return all(math.isclose(p, q, abs_tol=1e-9) for p, q in zip(a.to_xyxy(1, 1), b.to_xyxy(1, 1), strict=True))


@given(grid_boxes(), sides, sides)
def test_every_constructor_gives_the_same_box(box: Box, width: int, height: int) -> None:
    x0, y0, x1, y1 = box.to_xyxy(width, height)
    assert close(Box.from_xyxy((x0, y0, x1, y1), width, height), box)
    assert close(Box.from_xyxy((x0 + 1, y0 + 1, x1 + 1, y1 + 1), width, height, one_based=True), box)
    assert close(Box.from_xywh((x0, y0, x1 - x0, y1 - y0), width, height), box)
    assert close(Box.from_cxcywh((*box.center, box.x1 - box.x0, box.y1 - box.y0)), box)
    assert close(Box.from_points((x1, y0, x0, (y0 + y1) / 2, x1, y1), width, height), box)
    assert close(Box.from_mask(raster([box])), box)


def test_known_rows() -> None:
    recist = (233.537, 95.0204, 234.057, 106.977, 231.169, 101.605, 236.252, 101.143)
    listed = Box.from_xyxy((226.169, 90.0204, 241.252, 111.977), 512, 512, one_based=True)
    assert listed.to_xyxy(512, 512) == pytest.approx((225.169, 89.0204, 240.252, 110.977))
    moved = [v - 1 for v in recist]
    assert Box.from_points(moved, 512, 512, margin=5).to_xyxy(512, 512) == pytest.approx(listed.to_xyxy(512, 512))
    assert Box.from_cxcywh((0.5, 0.5, 0.2, 0.4)).to_xyxy(100, 50) == pytest.approx((40, 15, 60, 35))


def test_boxes_are_clipped_to_the_image() -> None:
    assert Box.from_xyxy((-5, 2, 30, 99), 20, 10) == Box(0, 0.2, 1, 1)


@pytest.mark.parametrize(
    "xyxy, reason",
    [
        ((1, 2, 3), "malformed"),
        ((1, 2, 3, 4, 5), "malformed"),
        ((1, 2, 3, "x"), "malformed"),
        ((1, 2, 3, None), "malformed"),
        ((1, 2, 3, math.nan), "malformed"),
        ((1, 2, 3, math.inf), "malformed"),
        ((3, 2, 1, 4), "out_of_frame"),
        ((1, 2, 1, 4), "out_of_frame"),
        ((21, 2, 25, 4), "out_of_frame"),
        ((1, -9, 2, 0), "out_of_frame"),
    ],
)
def test_numbers_that_are_no_box(xyxy: tuple, reason: str) -> None:
    with pytest.raises(BoxError) as caught:
        Box.from_xyxy(xyxy, 20, 10)
    assert caught.value.reason == reason


def test_other_conventions_refuse_too() -> None:
    for build in (lambda v: Box.from_xywh(v, 9, 9), Box.from_cxcywh):
        with pytest.raises(BoxError) as caught:
            build((1, 2, "x"))
        assert caught.value.reason == "malformed"
    with pytest.raises(BoxError):
        Box.from_mask(np.zeros((4, 4), bool))
    with pytest.raises(BoxError):
        Box(0.5, 0, 0.5, 1)


@given(sets, sets)
def test_union_iou_is_what_a_raster_counts(said: list[Box], true: list[Box]) -> None:
    a, b = raster(said), raster(true)
    assert union_area(said) == pytest.approx(a.mean())
    assert iou_union(said, true) == pytest.approx((a & b).sum() / max(1, (a | b).sum()))


@given(sets, sets)
def test_measures_lie_in_0_1_and_are_symmetric(said: list[Box], true: list[Box]) -> None:
    for measure in (iou_union, iou_matched, iou_best):
        assert 0 <= measure(said, true) <= 1 + 1e-9
        assert measure(said, true) == pytest.approx(measure(true, said))
    assert 0 <= iou_first(said, true) <= iou_best(said, true) + 1e-9


@given(filled)
def test_the_truth_scores_one(true: list[Box]) -> None:
    for measure in (iou_union, iou_matched, iou_best, iou_first):
        assert measure(true, true) == pytest.approx(1)
        assert measure([], true) == 0 == measure([], [])


@given(filled, filled)
def test_a_duplicate_gains_nothing(said: list[Box], true: list[Box]) -> None:
    for measure in (iou_union, iou_best, iou_first):
        assert measure([*said, *said], true) == pytest.approx(measure(said, true))
    if len(said) >= len(true):
        assert iou_matched([*said, *said], true) <= iou_matched(said, true) + 1e-9


@given(grid_boxes(), grid_boxes())
def test_all_readings_agree_on_one_box_each(said: Box, true: Box) -> None:
    for measure in (iou_union, iou_matched, iou_best, iou_first):
        assert measure([said], [true]) == pytest.approx(pair_iou(said, true))


@given(grid_boxes(), filled)
def test_matching_is_the_best_assignment(said: Box, true: list[Box]) -> None:
    assert iou_matched([said], true) == pytest.approx(max(pair_iou(said, t) for t in true) / len(true))


def test_matching_is_one_to_one() -> None:
    left, right = Box(0, 0, 0.5, 1), Box(0.5, 0, 1, 1)
    assert iou_matched([right, left], [left, right]) == pytest.approx(1)
    assert iou_matched([left, left], [left, right]) == pytest.approx(0.5)


@given(
    sets,
    st.lists(st.integers(0, SIZE), min_size=2, max_size=5, unique=True),
    st.lists(st.integers(0, SIZE), min_size=2, max_size=5, unique=True),
)
def test_coverage_is_what_a_raster_counts(boxes: list[Box], columns: list[int], rows: list[int]) -> None:
    columns, rows = sorted(columns), sorted(rows)
    grid = raster(boxes)
    share = coverage(boxes, [c / SIZE for c in columns], [r / SIZE for r in rows])
    assert share.shape == (len(rows) - 1, len(columns) - 1)
    for i, (top, bottom) in enumerate(pairwise(rows)):
        for j, (left, right) in enumerate(pairwise(columns)):
            assert share[i, j] == pytest.approx(grid[top:bottom, left:right].mean())


@given(filled, st.integers(1, 5), st.integers(1, 5))
def test_coverage_keeps_the_area(boxes: list[Box], across: int, down: int) -> None:
    share = coverage(boxes, np.linspace(0, 1, across + 1), np.linspace(0, 1, down + 1))
    assume(share.size)
    assert share.mean() == pytest.approx(union_area(boxes))
