"""The rules of diagnoses with boxes, on boxes and words alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umed.boxes import Box
from umed.evaluation.rules.diagnosis import box_iou, count_by_iou, names_category

NAMES = ["cyst", "stone"]


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        ("A stone is seen.", True),
        ("A stone and a cyst.", False),
        ("No cyst. A stone.", True),
        ("No stone.", False),
        ("", False),
    ],
)
def test_one_category_is_named_and_no_other_of_its_source(output: str, verdict: bool) -> None:
    assert names_category(output, "stone", NAMES) is verdict


def test_other_names_and_other_categories_count_where_they_may() -> None:
    assert names_category("A stone and a cyst.", "stone", NAMES, allow_others=True)
    assert not names_category("A calculus.", "stone", NAMES)
    assert names_category("A calculus.", "stone", NAMES, {"stone": ["calculus"]})
    assert not names_category("A calculus, a cyst.", "stone", NAMES, {"stone": ["calculus"]})


def boxes(*corners: tuple[float, float, float, float], size: tuple[int, int] = (128, 64)) -> list[Box]:
    return [Box.from_xyxy(four, *size) for four in corners]


TRUE = (16, 16, 48, 48)


@pytest.mark.parametrize(
    ("said", "iou"),
    [
        ([TRUE], 1),
        ([(16, 16, 48, 32)], 0.5),
        ([(16, 16, 32, 32)], 0.25),
        ([TRUE, TRUE], 1),
        ([(60, 16, 90, 48)], 0),
        ([], 0),
    ],
)
def test_iou_is_of_the_unions(said: list[tuple[float, float, float, float]], iou: float) -> None:
    assert box_iou(boxes(*said), boxes(TRUE)) == pytest.approx(iou)
    assert box_iou(None, boxes(TRUE)) == box_iou(boxes(TRUE), []) == 0


@given(st.integers(2, 5000), st.integers(2, 5000), st.data())
def test_half_a_box_is_half_of_it_in_any_picture(width: int, height: int, data: st.DataObject) -> None:
    """As shares of the picture, boxes with half of their area in common come out a little below .5."""
    across = data.draw(st.integers(1, width // 2))
    x = data.draw(st.integers(0, width - 2 * across))
    half, whole = (x, 0, x + across, height), (x, 0, x + 2 * across, height)
    iou = box_iou(boxes(half, size=(width, height)), boxes(whole, size=(width, height)))
    assert iou == 0.5 == box_iou(boxes(whole, size=(width, height)), boxes(half, size=(width, height)))


def test_every_item_lies_in_one_bin_of_iou() -> None:
    verdicts = [{"iou": iou, "accuracy": iou > 0.4} for iou in (0.0, 0.1, 0.49, 0.5, 1.0)]
    assert count_by_iou(verdicts, [0, 0.5, 1]) == [(3, 1), (2, 2)]
    assert count_by_iou([], [0, 0.5, 1]) == [(0, 0), (0, 0)]
