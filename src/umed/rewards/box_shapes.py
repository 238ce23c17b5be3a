"""Comparisons of two sets of boxes that still tell answers apart where their IoU is 0; none of them is the paper's.

Rewards only: what is reported is always the IoU of equation (5).
"""

from collections.abc import Callable, Sequence
from functools import partial

from umed.boxes import MATCHES, Box, iou_best, iou_first, iou_matched, iou_union, pair_iou, union_area

Compare = Callable[[Sequence[Box], Sequence[Box]], float]


def enclose(a: Box, b: Box) -> Box:
    """The smallest box around both."""
    return Box(min(a.x0, b.x0), min(a.y0, b.y0), max(a.x1, b.x1), max(a.y1, b.y1))


def pair_giou(a: Box, b: Box) -> float:
    """Generalized IoU (Rezatofighi et al. 2019) of two boxes as (GIoU + 1) / 2, in (0, 1].

    GIoU = IoU - (|C| - |a or b|) / |C|, C = the box around both. Unlike the IoU it also falls as C grows, so a box of
    larger IoU can score lower.
    """
    iou, around = pair_iou(a, b), enclose(a, b).area
    either = (a.area + b.area) / (1 + iou)  # |a| + |b| = |a or b| + |a and b|
    return _clip((1 + iou - (around - either) / around) / 2)


def pair_offset(a: Box, b: Box) -> float:
    """Squared distance of the centers over the squared diagonal of the box around both, in [0, 1).

    The penalty of DIoU (Zheng et al. 2020).
    """
    (ax, ay), (bx, by), c = a.center, b.center, enclose(a, b)
    return ((ax - bx) ** 2 + (ay - by) ** 2) / ((c.x1 - c.x0) ** 2 + (c.y1 - c.y0) ** 2)


def pair_distance(a: Box, b: Box) -> float:
    """(1 + IoU) / 2 where the boxes overlap, (1 - offset) / 2 where they do not; in (0, 1].

    It orders boxes as the IoU does, and by their distance where the IoU is 0.
    """
    iou = pair_iou(a, b)
    return (1 + iou) / 2 if iou > 0 else (1 - pair_offset(a, b)) / 2


def giou_union(predicted: Sequence[Box], true: Sequence[Box]) -> float:
    """`pair_giou` of two sets: GIoU = IoU - (|C| - |either|) / |C|, IoU and |either| those of the regions covered.

    C is the region of the boxes around each box and its best partner in the other set. One box around everything would
    charge several true boxes for the space between them: the gold answer would not score 1.
    """
    if not predicted or not true:
        return 0.0
    pairs = [(p, max(true, key=partial(pair_giou, p))) for p in predicted]
    pairs += [(max(predicted, key=partial(pair_giou, t)), t) for t in true]
    around, either = union_area([enclose(*pair) for pair in pairs]), union_area([*predicted, *true])
    return _clip((1 + iou_union(predicted, true) - max(0.0, around - either) / around) / 2)


def distance_union(predicted: Sequence[Box], true: Sequence[Box]) -> float:
    """`pair_distance` of two sets: the IoU of the regions covered; where it is 0, the offset of the sets.

    That is the offset of the box furthest from its nearest box in the other set (Hausdorff), which duplicate boxes
    do not change and more boxes around the true one do not lower.
    """
    if not predicted or not true:
        return 0.0
    if (iou := iou_union(predicted, true)) > 0:
        return (1 + iou) / 2
    offsets = [[pair_offset(p, t) for t in true] for p in predicted]
    return (1 - max(min(line) for line in (*offsets, *zip(*offsets, strict=True)))) / 2


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)  # areas are sums that round


def _by_match(union: Compare, pair: Callable[[Box, Box], float]) -> dict[str, Compare]:
    """Reading R12: the other three compare pairs."""
    of_pairs = {"matched": iou_matched, "best": iou_best, "first": iou_first}
    return {"union": union, **{match: partial(compare, pair=pair) for match, compare in of_pairs.items()}}


SHAPES: dict[str, dict[str, Compare]] = {
    "iou": dict(MATCHES),
    "giou": _by_match(giou_union, pair_giou),
    "distance": _by_match(distance_union, pair_distance),
}
