"""MedMNIST's accuracy and AUC against plain counting."""

import numpy as np
import pytest

from umed.evaluation.rules.labels import LABELS, acc_generated, accuracy, area, auc, gold_label

BREAST = LABELS["medmnist_breast"]


def pairs(positive: np.ndarray, score: np.ndarray) -> float:
    """The share of (positive, negative) pairs in the right order, ties half."""
    won = [float(p > n) + 0.5 * float(p == n) for p in score[positive] for n in score[~positive]]
    return sum(won) / len(won)


@pytest.mark.parametrize("seed", range(20))
def test_the_area_counts_pairs_and_halves_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 3, 60), rng.integers(0, 6, (60, 3)) / 5  # many ties
    for c in range(3):
        assert area(labels == c, scores[:, c]) == pytest.approx(pairs(labels == c, scores[:, c]), abs=1e-12)
    assert auc(labels, scores) == pytest.approx(
        np.mean([pairs(labels == c, scores[:, c]) for c in range(3)]), abs=1e-12
    )
    two = labels % 2
    assert auc(two, scores[:, :2]) == pytest.approx(pairs(two == 1, scores[:, 1]), abs=1e-12)


def test_a_class_without_both_signs_has_no_area() -> None:
    scores = np.random.default_rng(0).random((6, 3))
    assert auc(np.array([0, 1, 0, 1, 0, 1]), scores) is None  # no item of class 2
    assert auc(np.zeros(6, int), scores[:, :2]) is None


def test_two_classes_have_a_threshold_and_more_have_a_maximum() -> None:
    two = np.array([[0.5, 0.5], [0.4, 0.6], [0.9, 0.51], [0.1, 0.2]])
    assert accuracy(np.array([0, 1, 1, 0]), two).tolist() == [True] * 4  # .5 is not above .5; the last score decides
    three = np.array([[0.4, 0.4, 0.2], [0.1, 0.2, 0.2]])
    assert accuracy(np.array([0, 1]), three).tolist() == [True, True]  # the first maximum


def test_the_positive_class_of_breast_is_benign() -> None:
    assert BREAST == ("malignant", "normal, benign")


@pytest.mark.parametrize(
    ("output", "gold", "right"),
    [
        ("Malignant.", 0, True),
        ("normal, benign", 1, True),
        ("normal", 1, False),
        ("malignant", 1, False),
        ("", 0, False),
    ],
)
def test_the_written_answer(output: str, gold: int, right: bool) -> None:
    assert acc_generated(output, BREAST[gold], BREAST) is right


def test_a_gold_label_is_a_name_or_an_index() -> None:
    assert [gold_label(g, BREAST) for g in ("malignant", " normal, benign ", 1, "0", 1.0)] == [0, 1, 1, 0, 1]
    for wrong in ("benign", 2, "-1", None, 0.5):
        with pytest.raises(ValueError, match="is no label"):
            gold_label(wrong, BREAST)
