"""The rules of diagnoses with boxes (MAU): pure functions of an answer, the category it should name and its boxes."""

from collections.abc import Collection, Mapping, Sequence

from umed.boxes import Box, iou_union, pair_iou
from umed.evaluation.rules.mentions import NO_ALIASES, named


def names_category(
    output: str,
    category: str,
    categories: Sequence[str],
    synonyms: Mapping[str, Sequence[str]] = NO_ALIASES,
    allow_others: bool = False,
    also: Collection[str] = (),
) -> bool:
    """`accuracy`: whether the answer names the category, and no other of its source.

    Args:
        categories: those of the source.
        synonyms: category -> other names that count as naming it.
        allow_others: whether other categories may be named too.
        also: other categories that are no mistake.
    """
    mentioned = named(output, categories, synonyms)
    return category in mentioned and (allow_others or not set(mentioned) - {category, *also})


def box_iou(predicted: Sequence[Box] | None, true: Sequence[Box]) -> float:
    """`iou`, equation (5): IoU of the unions of predicted and gold boxes; 0 where none could be read (reading R13)."""
    if not predicted:
        return 0.0
    # most answers have one box, for which no union of areas is needed
    iou = pair_iou(predicted[0], true[0]) if len(predicted) == len(true) == 1 else iou_union(predicted, true)
    # rounded: as shares of the picture, boxes with half of their area in common come out at .49999999999999983
    return round(iou, 12)


def count_by_iou(
    verdicts: Sequence[Mapping[str, bool | float | None]], edges: Sequence[float]
) -> list[tuple[int, int]]:
    """Items and right ones of each bin of IoU, from edge to edge; the last bin holds its upper edge too."""
    counts = [[0, 0] for _ in edges[1:]]
    for verdict in verdicts:
        iou = float(verdict["iou"] or 0.0)
        place = max(k for k, low in enumerate(edges[:-1]) if iou >= low)
        counts[place][0] += 1
        counts[place][1] += bool(verdict["accuracy"])
    return [(items, right) for items, right in counts]
