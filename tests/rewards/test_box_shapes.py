"""Shapes of the localization reward that are above 0 where boxes miss."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers.loss.loss_for_object_detection import generalized_box_iou

from umed.boxes import MATCHES, Box, iou_union, pair_iou
from umed.evaluation.rules.diagnosis import box_iou
from umed.rewards.box_shapes import SHAPES, distance_union, giou_union, pair_distance, pair_giou

ALL = [pytest.param(SHAPES[shape][match], id=f"{shape}-{match}") for shape in SHAPES for match in MATCHES]
NEW = [pytest.param(SHAPES[shape][match], id=f"{shape}-{match}") for shape in ("giou", "distance") for match in MATCHES]
UNIONS = [giou_union, distance_union]
LEFT, RIGHT, FAR = Box(0, 0, 0.2, 0.2), Box(0.4, 0, 0.6, 0.2), Box(0.8, 0.8, 1, 1)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, x1, y0, y1 = (draw(st.floats(0, 1, allow_subnormal=False)) for _ in range(4))
    assume(abs(x0 - x1) > 1e-3 and abs(y0 - y1) > 1e-3)
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


SETS = st.lists(boxes(), min_size=1, max_size=4)


def corners(box: Box) -> np.ndarray:
    return np.array([box.x0, box.y0, box.x1, box.y1])


def numpy_pair(a: Box, b: Box) -> tuple[float, float, float]:
    """IoU, GIoU and the distance penalty of DIoU, from the papers' lines."""
    p, q = corners(a), corners(b)
    both = np.prod(np.clip(np.minimum(p[2:], q[2:]) - np.maximum(p[:2], q[:2]), 0, None))
    either = np.prod(p[2:] - p[:2]) + np.prod(q[2:] - q[:2]) - both
    around = np.maximum(p[2:], q[2:]) - np.minimum(p[:2], q[:2])
    apart = (p[:2] + p[2:] - q[:2] - q[2:]) / 2
    giou = both / either - (np.prod(around) - either) / np.prod(around)
    return both / either, giou, np.sum(apart**2) / np.sum(around**2)


@given(boxes(), boxes())
def test_pairs_against_numpy(a: Box, b: Box) -> None:
    iou, giou, penalty = numpy_pair(a, b)
    assert pair_giou(a, b) == pytest.approx((giou + 1) / 2, abs=1e-9)
    assert pair_distance(a, b) == pytest.approx((1 + iou) / 2 if iou > 0 else (1 - penalty) / 2, abs=1e-9)


@given(boxes(), boxes())
def test_giou_is_that_of_transformers(a: Box, b: Box) -> None:
    one, other = (torch.tensor(corners(box))[None] for box in (a, b))
    assert 2 * pair_giou(a, b) - 1 == pytest.approx(float(generalized_box_iou(one, other)), abs=1e-9)


def test_by_hand() -> None:
    """Two squares of side .2, their centers .4 apart: C is .6 x .2."""
    assert pair_giou(LEFT, RIGHT) == pytest.approx((0 - (0.12 - 0.08) / 0.12 + 1) / 2)
    assert pair_distance(LEFT, RIGHT) == pytest.approx((1 - 0.16 / 0.4) / 2)
    # the true boxes LEFT and FAR, LEFT found: the box around LEFT and FAR is the picture
    assert giou_union([LEFT], [LEFT, FAR]) == pytest.approx((0.5 - (1 - 0.08) + 1) / 2)
    # RIGHT against LEFT and FAR: RIGHT is nearer to LEFT, FAR is the one that counts
    assert distance_union([RIGHT], [LEFT, FAR]) == pytest.approx((1 - (0.4**2 + 0.8**2) / (0.6**2 + 1)) / 2)


@pytest.mark.parametrize("compare", ALL)
@given(predicted=SETS, true=SETS)
def test_in_bounds_and_exactly_one_for_gold(compare, predicted: list[Box], true: list[Box]) -> None:
    assert 0 <= compare(predicted, true) <= 1
    assert compare(true, true) == 1.0


@pytest.mark.parametrize("compare", ALL)
def test_no_box_scores_zero(compare) -> None:
    assert compare([], [LEFT]) == compare([LEFT], []) == compare([], []) == 0.0


@pytest.mark.parametrize("compare", NEW)
def test_boxes_that_miss_are_told_apart(compare) -> None:
    """Above no box at all, and below a box that hits."""
    assert pair_iou(LEFT, RIGHT) == pair_iou(LEFT, FAR) == 0
    near, far, hit = compare([RIGHT], [LEFT]), compare([FAR], [LEFT]), compare([Box(0.1, 0, 0.3, 0.2)], [LEFT])
    assert 0 < far < near < hit < 1


def test_only_distance_pays_more_for_any_overlap_than_for_a_miss() -> None:
    """A corner in common: the box around both is larger than around a miss in the same row."""
    corner = Box(0.19, 0.19, 0.4, 0.4)
    assert pair_iou(corner, LEFT) > 0 and pair_distance(corner, LEFT) > 0.5 > pair_distance(RIGHT, LEFT)
    assert pair_giou(corner, LEFT) < pair_giou(RIGHT, LEFT)


@pytest.mark.parametrize("shape", ["giou", "distance"])
@pytest.mark.parametrize("match", MATCHES)
@given(predicted=boxes(), true=boxes())
def test_all_matches_agree_for_one_box_against_one(shape: str, match: str, predicted: Box, true: Box) -> None:
    expected = {"giou": pair_giou, "distance": pair_distance}[shape](predicted, true)
    assert SHAPES[shape][match]([predicted], [true]) == pytest.approx(expected, abs=1e-9)


@given(SETS, SETS, SETS)
def test_distance_keeps_the_order_of_the_iou(one: list[Box], other: list[Box], true: list[Box]) -> None:
    """Whatever the distances; so also for boxes that are equally far."""
    if iou_union(one, true) > iou_union(other, true):
        assert distance_union(one, true) >= distance_union(other, true)


@pytest.mark.parametrize("pair", [pair_giou, pair_distance])
@given(boxes(), st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1))
def test_a_box_of_the_same_size_that_comes_nearer_never_loses(
    pair, box: Box, right: float, down: float, left: float
) -> None:
    """In a straight line, in a picture of a hundred times the size."""

    def moved(by: float) -> Box:
        x, y = 0.5 + by * right / 4, 0.5 + by * down / 4
        return Box(x + box.x0 / 100, y + box.y0 / 100, x + box.x1 / 100, y + box.y1 / 100)

    assert pair(moved(left), moved(0)) >= pair(moved(1), moved(0)) - 1e-9


@pytest.mark.parametrize("union", UNIONS)
@given(predicted=SETS, true=SETS)
def test_unions_are_symmetric_and_blind_to_duplicates(union, predicted: list[Box], true: list[Box]) -> None:
    value = union(predicted, true)
    assert value == pytest.approx(union(true, predicted), abs=1e-9)
    assert value == pytest.approx(union(predicted + predicted, true), abs=1e-9)


@pytest.mark.parametrize("union", UNIONS)
def test_boxes_around_the_true_one_gain_nothing(union) -> None:
    """Their common center is the true box's."""
    true, beside, other = Box(0.45, 0.45, 0.55, 0.55), Box(0.2, 0.45, 0.3, 0.55), Box(0.7, 0.45, 0.8, 0.55)
    assert union([beside, other], [true]) <= union([beside], [true]) + 1e-9


@pytest.mark.parametrize("union", UNIONS)
def test_several_true_boxes_are_not_charged_for_the_space_between(union) -> None:
    around: Sequence[Box] = [Box(0, 0, 1, 1)]
    assert union([LEFT, FAR], [LEFT, FAR]) == 1.0 > union(around, [LEFT, FAR])


@given(SETS, SETS)
def test_what_is_reported_stays_the_iou(predicted: list[Box], true: list[Box]) -> None:
    assert box_iou(predicted, true) == pytest.approx(iou_union(predicted, true), abs=1e-9)
    assert SHAPES["iou"] == MATCHES
