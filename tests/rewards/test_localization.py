"""Equation (5), readings R12 and R13."""

from types import SimpleNamespace

import pytest
import torch

from umed.boxes import MATCHES, Box
from umed.errors import InputError
from umed.rewards.box_shapes import SHAPES
from umed.rewards.localization import LocalizationReward

LEFT, RIGHT, ALL = Box(0, 0, 0.5, 1), Box(0.5, 0, 1, 1), Box(0, 0, 1, 1)


def rollout(said: list[list[Box] | None], true: list[tuple[Box, ...]]) -> SimpleNamespace:
    per_query = len(said) // len(true)
    return SimpleNamespace(
        boxes=said,
        records=[SimpleNamespace(boxes=t) for t in true],
        group_B=torch.arange(len(true)).repeat_interleave(per_query),
    )


@pytest.mark.parametrize("match", MATCHES)
def test_each_answer_is_held_against_its_own_query(match: str) -> None:
    values = LocalizationReward(match)(rollout([[LEFT], [RIGHT], [RIGHT], [ALL]], [(LEFT,), (RIGHT,)]))
    assert values.dtype == torch.float32
    assert values.tolist() == [1.0, 0.0, 1.0, 0.5]  # all four readings agree for one box against one box


@pytest.mark.parametrize("match", MATCHES)
def test_no_readable_box_earns_zero(match: str) -> None:
    assert LocalizationReward(match)(rollout([None, []], [(LEFT,)])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("match", MATCHES)
def test_on_a_normal_picture_only_drawing_nothing_earns(match: str) -> None:
    """None: something is written like a box, and cannot be read."""
    assert LocalizationReward(match)(rollout([[], [LEFT], [ALL, LEFT], None], [()])).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert LocalizationReward(match)(rollout([[], [LEFT]], [(), (LEFT,)])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("match", "duplicates", "one_of_two", "whole_image"),
    [("union", 1.0, 0.5, 1.0), ("matched", 0.5, 0.5, 0.25), ("best", 1.0, 1.0, 0.5), ("first", 1.0, 1.0, 0.5)],
)
def test_several_boxes(match: str, duplicates: float, one_of_two: float, whole_image: float) -> None:
    score = LocalizationReward(match)
    assert score(rollout([[LEFT, LEFT]], [(LEFT,)])).tolist() == [duplicates]
    assert score(rollout([[LEFT]], [(LEFT, RIGHT)])).tolist() == [one_of_two]
    assert score(rollout([[ALL]], [(LEFT, RIGHT)])).tolist() == [whole_image]


def test_first_looks_at_the_first_said_box_only() -> None:
    assert LocalizationReward("first")(rollout([[RIGHT, LEFT]], [(LEFT,)])).tolist() == [0.0]
    assert LocalizationReward("best")(rollout([[RIGHT, LEFT]], [(LEFT,)])).tolist() == [1.0]


def test_the_whole_image_scores_the_share_of_the_area() -> None:
    small = Box(0.2, 0.2, 0.4, 0.3)
    assert LocalizationReward()(rollout([[ALL]], [(small,)])).item() == pytest.approx(small.area)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("match", MATCHES)
def test_the_shape_is_that_of_the_match(shape: str, match: str) -> None:
    said, true = [RIGHT, Box(0.1, 0.1, 0.2, 0.2)], (Box(0, 0, 0.1, 0.1), LEFT)
    expected = SHAPES[shape][match](said, true)
    values = LocalizationReward(match, shape=shape)(rollout([said, None, []], [true]))
    assert values.tolist() == pytest.approx([expected, 0, 0]) and values.dtype == torch.float32


def test_an_unknown_shape_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^reward.parts.localization.shape=ciou: choose iou, giou or distance$"):
        LocalizationReward(shape="ciou")


def test_a_batch_whose_boxes_all_miss_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    missed = rollout([[RIGHT], None, [RIGHT], []], [(LEFT,), (LEFT,)])
    reward = LocalizationReward()
    reward(rollout([[RIGHT], [LEFT]], [(LEFT,)]))  # one that hits
    reward(rollout([None, []], [(LEFT,)]))  # no box to pay for
    reward(rollout([[RIGHT]], [()]))  # nothing to find
    LocalizationReward(shape="giou")(missed)
    assert not capsys.readouterr().err
    assert not reward(missed).any() and not reward(missed).any()
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "reward.parts.localization.shape=giou" in printed
