"""The rules of MedMNIST, as the official Evaluator computes them from a matrix of class scores (medmnist 3.0.2)."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from umed.evaluation.rules.normalize import norm

# by index; `normal, benign` is one name, and it is the positive class
LABELS: dict[str, tuple[str, ...]] = {
    "medmnist_derma": (
        "actinic keratoses and intraepithelial carcinoma",
        "basal cell carcinoma",
        "benign keratosis-like lesions",
        "dermatofibroma",
        "melanoma",
        "melanocytic nevi",
        "vascular lesions",
    ),
    "medmnist_breast": ("malignant", "normal, benign"),
    "medmnist_pneumonia": ("normal", "pneumonia"),
}


def gold_label(answer: object, names: Sequence[str]) -> int:
    """The index of a gold answer, given as the label's name or as its index.

    Raises:
        ValueError: neither.
    """
    text = str(int(answer) if isinstance(answer, float) and answer.is_integer() else answer).strip()
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < len(names):
        return int(text)
    raise ValueError(f"{text[:80]} is no label: {', '.join(names)}")


def predicted(scores_NC: np.ndarray) -> np.ndarray:
    """Class of each row: of two classes whether the last score is above .5 (strictly), of more the first maximum."""
    if scores_NC.shape[1] == 2:
        return (scores_NC[:, -1] > 0.5).astype(int)
    return scores_NC.argmax(1)


def accuracy(labels_N: np.ndarray, scores_NC: np.ndarray) -> np.ndarray:
    """Whether each row's class is the label, (N,) bool."""
    return predicted(scores_NC) == labels_N


def auc(labels_N: np.ndarray, scores_NC: np.ndarray) -> float | None:
    """Area under the ROC curve: of two classes that of the last score, of more the plain mean of one against the rest.

    Returns:
        None where a class is everything or nothing in the labels, so that its curve does not exist.
    """
    columns = [1] if scores_NC.shape[1] == 2 else range(scores_NC.shape[1])
    areas = [area(labels_N == c, scores_NC[:, c]) for c in columns]
    known = [a for a in areas if a is not None]
    return float(np.mean(known)) if len(known) == len(areas) else None


def area(positive_N: np.ndarray, score_N: np.ndarray) -> float | None:
    """Mann-Whitney form of the area, with mid-ranks for ties."""
    positives, count = int(positive_N.sum()), len(positive_N)
    negatives = count - positives
    if not positives or not negatives:
        return None
    ranks = rankdata(score_N)[positive_N].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def acc_generated(output: str, gold: str, labels: Sequence[str]) -> bool:
    """Whether the output is the gold label's name after `norm`, and no other's: accuracy of the written answer."""
    normalized = norm(output)
    return bool(normalized) and [label for label in labels if norm(label) == normalized] == [gold]
