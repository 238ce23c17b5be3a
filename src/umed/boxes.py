"""`Box`: a region as fractions of the ORIGINAL image, with a constructor for every outside convention.

Everything except parsers and codecs handles `Box` only, so a box cannot be read in one convention and compared in
another.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


class BoxError(ValueError):
    """Four numbers that are no box; `reason` is that of `dropped.jsonl`: `malformed` or `out_of_frame`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open rectangle, 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1, as fractions of the original image."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not (0 <= self.x0 < self.x1 <= 1 and 0 <= self.y0 < self.y1 <= 1):
            raise BoxError("out_of_frame", f"no area inside the image: {self.x0, self.y0, self.x1, self.y1}")

    @classmethod
    def from_xyxy(cls, xyxy: Sequence[float], width: float, height: float, *, one_based: bool = False) -> Self:
        """From pixel corners; clipped to the image. `one_based` subtracts 1 from all four (DeepLesion).

        Raises:
            BoxError: `malformed` if a number is missing, not a number or infinite; `out_of_frame` if nothing is left
                inside the image or the corners are in the wrong order.
        """
        x0, y0, x1, y1 = (v - one_based for v in _four(xyxy))
        if not all(math.isfinite(v) for v in (x0, y0, x1, y1)):
            raise BoxError("malformed", f"not finite: {xyxy!r}")
        if x1 <= x0 or y1 <= y0:
            raise BoxError("out_of_frame", f"no area: {xyxy!r}")
        return cls(*(min(max(v, 0.0), 1.0) for v in (x0 / width, y0 / height, x1 / width, y1 / height)))

    @classmethod
    def from_xywh(cls, xywh: Sequence[float], width: float, height: float) -> Self:
        """From the top-left corner and the size, in pixels (COCO, NIH)."""
        x, y, w, h = _four(xywh)
        return cls.from_xyxy((x, y, x + w, y + h), width, height)

    @classmethod
    def from_cxcywh(cls, cxcywh: Sequence[float]) -> Self:
        """From center and size as fractions of the image (YOLO)."""
        x, y, w, h = _four(cxcywh)
        return cls.from_xyxy((x - w / 2, y - h / 2, x + w / 2, y + h / 2), 1, 1)

    @classmethod
    def from_points(cls, xy: Sequence[float], width: float, height: float, *, margin: float = 0.0) -> Self:
        """The bounding box of points given as x, y, x, y, ..., in pixels, widened by `margin` (RECIST diameters)."""
        xs, ys = [float(v) for v in xy[0::2]], [float(v) for v in xy[1::2]]
        corners = (min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin)
        return cls.from_xyxy(corners, width, height)

    @property
    def area(self) -> float:
        """Share of the image."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    @property
    def center(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def to_xyxy(self, width: float, height: float) -> tuple[float, float, float, float]:
        """Pixel corners in an image of this size."""
        return self.x0 * width, self.y0 * height, self.x1 * width, self.y1 * height


def _four(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    try:
        a, b, c, d = (float(v) for v in numbers)
    except (TypeError, ValueError, OverflowError):
        raise BoxError("malformed", f"not four numbers: {numbers!r}") from None
    return a, b, c, d


def coverage(boxes: Sequence[Box], xs: Sequence[float] | np.ndarray, ys: Sequence[float] | np.ndarray) -> np.ndarray:
    """Share of each cell of the grid with lines `xs` and `ys` (fractions, ascending) that the boxes' union covers.

    Returns:
        (len(ys) - 1, len(xs) - 1) array in [0, 1].
    """
    fine_x = np.unique(np.concatenate([np.asarray(xs, float), *[[b.x0, b.x1] for b in boxes]]))
    fine_y = np.unique(np.concatenate([np.asarray(ys, float), *[[b.y0, b.y1] for b in boxes]]))
    mid_x, mid_y = (fine_x[1:] + fine_x[:-1]) / 2, (fine_y[1:] + fine_y[:-1]) / 2
    inside = np.zeros((len(mid_y), len(mid_x)), dtype=bool)
    for b in boxes:
        inside |= np.outer((b.y0 < mid_y) & (mid_y < b.y1), (b.x0 < mid_x) & (mid_x < b.x1))
    area = inside * np.outer(np.diff(fine_y), np.diff(fine_x))
    column, row = np.searchsorted(xs, mid_x) - 1, np.searchsorted(ys, mid_y) - 1
    keep_x, keep_y = (column >= 0) & (column < len(xs) - 1), (row >= 0) & (row < len(ys) - 1)
    share = np.zeros((len(ys) - 1, len(xs) - 1))
    np.add.at(share, np.ix_(row[keep_y], column[keep_x]), area[np.ix_(keep_y, keep_x)])
    return np.clip(share / np.outer(np.diff(ys), np.diff(xs)), 0.0, 1.0)


def union_area(boxes: Sequence[Box]) -> float:
    """Share of the image that at least one box covers."""
    return float(coverage(boxes, (0.0, 1.0), (0.0, 1.0))[0, 0]) if boxes else 0.0


def _overlaps(a: Sequence[Box], b: Sequence[Box]) -> list[Box]:
    pairs = [(max(p.x0, q.x0), max(p.y0, q.y0), min(p.x1, q.x1), min(p.y1, q.y1)) for p in a for q in b]
    return [Box(*c) for c in pairs if c[0] < c[2] and c[1] < c[3]]


def pair_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, equation (5)."""
    both = sum(o.area for o in _overlaps([a], [b]))
    return both / (a.area + b.area - both)


def iou_union(predicted: Sequence[Box], true: Sequence[Box]) -> float:
    """Equation (5) on the two SETS (reading R12 `union`): duplicates do not change it."""
    either = union_area([*predicted, *true])
    return union_area(_overlaps(predicted, true)) / either if either else 0.0


def iou_matched(predicted: Sequence[Box], true: Sequence[Box], pair: Callable[[Box, Box], float] = pair_iou) -> float:
    """Optimal one-to-one matching: sum of IoU over max(number predicted, number true) (R12 `matched`).

    Args:
        pair: what two boxes score, here and below.
    """
    from scipy.optimize import linear_sum_assignment  # half a second, which only this match needs

    if not predicted or not true:
        return 0.0
    table = np.array([[pair(s, t) for t in true] for s in predicted])
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / max(table.shape))


def iou_best(predicted: Sequence[Box], true: Sequence[Box], pair: Callable[[Box, Box], float] = pair_iou) -> float:
    """The best pair (R12 `best`); it grows with the number of boxes, so it is for comparison only."""
    return max((pair(s, t) for s in predicted for t in true), default=0.0)


def iou_first(predicted: Sequence[Box], true: Sequence[Box], pair: Callable[[Box, Box], float] = pair_iou) -> float:
    """The first predicted box against its best true box (R12 `first`)."""
    return iou_best(predicted[:1], true, pair)


MATCHES = {"union": iou_union, "matched": iou_matched, "best": iou_best, "first": iou_first}
