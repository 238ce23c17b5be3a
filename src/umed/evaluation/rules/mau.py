"""MAU metrics on prediction lines: accuracy, IoU, acc@0.5 and unparsed, per source and on average."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from umed.boxes import Box, BoxError, iou_union, pair_iou
from umed.evaluation.rules import mentions
from umed.evaluation.rules.mentions import NO_ALIASES

Line = dict[str, Any]


def said_boxes(line: Line) -> list[Box] | None:
    """The boxes of a prediction line that have an area; None when none could be read from the answer."""
    return _boxes(line, "boxes") if isinstance(line["boxes"], list) else None


def verdicts(line: Line, synonyms: Mapping[str, Sequence[str]] = NO_ALIASES, named: bool = False) -> dict[str, float]:
    """The rules of one line: `accuracy` names the gold category and no other of its source; `iou` is r_loc (5).

    Args:
        line: its `categories` are those of the source.
        synonyms: category -> other names that count as naming it.
        named: whether other categories may be named too.
    """
    # rounded: as shares of the picture, boxes with half of their area in common come out at .49999999999999983
    iou = round(_iou(said_boxes(line) or [], _boxes(line, "gold_boxes")), 12)
    said = mentions.named(line["output"], line["categories"], synonyms)
    return {
        "accuracy": float(line["category"] in said and (named or len(said) == 1)),
        "iou": iou,
        "acc@0.5": float(iou >= 0.5),
        "unparsed": float(line["boxes"] is None),
    }


def _iou(said: Sequence[Box], true: Sequence[Box]) -> float:
    """r_loc (5); most answers have one box, for which no union of areas is needed."""
    return pair_iou(said[0], true[0]) if len(said) == len(true) == 1 else iou_union(said, true) if said else 0.0


RULES = ("accuracy", "iou", "acc@0.5", "unparsed")


def mau_metrics(
    lines: Sequence[Line], rules: Sequence[str] = RULES, synonyms: Mapping[str, Sequence[str]] = NO_ALIASES
) -> dict[str, float]:
    """`mau/<rule>/<source>` and `mau/<rule>/avg`, the plain mean of the sources; see `averages`."""
    return averages(lines, [verdicts(line, synonyms) for line in lines], rules)


def categories(lines: Sequence[Line]) -> dict[str, list[str]]:
    """The categories of each source: those that its lines name as such, and all that are gold."""
    known: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        known[line["source"]] |= {line["category"], *line.get("categories", ())}
    return {source: sorted(names) for source, names in known.items()}


def averages(
    lines: Sequence[Line], found: Sequence[Mapping[str, Any]], rules: Sequence[str] = RULES
) -> dict[str, float]:
    """Means of the verdicts `found`: `mau/<rule>/<source>`, `/avg` and `mau/accuracy_multiclass/avg`.

    The last leaves out the sources with one category, whose accuracy says only that the model knows that word.
    """
    by_source: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        by_source[line["source"]].append(number)
    several = {source for source, names in categories(lines).items() if len(names) > 1}
    metrics: dict[str, float] = {}
    for rule in rules:
        means = {s: sum(float(found[n][rule]) for n in own) / len(own) for s, own in sorted(by_source.items())}
        metrics |= {f"mau/{rule}/{source}": mean for source, mean in means.items()}
        if means:
            metrics[f"mau/{rule}/avg"] = sum(means.values()) / len(means)
        if rule == "accuracy" and several:
            metrics["mau/accuracy_multiclass/avg"] = sum(means[s] for s in several) / len(several)
    return metrics


def accuracy_by_iou(found: Sequence[Mapping[str, Any]], edges: Sequence[float]) -> list[tuple[int, int]]:
    """Items and right ones of each bin of IoU, from edge to edge; the last bin holds its upper edge too."""
    counts = [[0, 0] for _ in edges[1:]]
    for verdict in found:
        place = max(k for k, low in enumerate(edges[:-1]) if float(verdict["iou"]) >= low)
        counts[place][0] += 1
        counts[place][1] += bool(verdict["accuracy"])
    return [(items, right) for items, right in counts]


def false_positives(lines: Sequence[Line], synonyms: Mapping[str, Sequence[str]] = NO_ALIASES) -> dict[str, float]:
    """On pictures known to be normal: `mau/false_positives/<source>`, answers that name a category of the source, and
    `mau/false_boxes/<source>`, answers with a box; the plain means of the sources under `/avg`.
    """
    found: dict[str, dict[str, list[bool]]] = {"false_positives": defaultdict(list), "false_boxes": defaultdict(list)}
    for line in lines:
        said = mentions.named(line["output"], line["categories"], synonyms)
        found["false_positives"][line["source"]].append(bool(said))
        found["false_boxes"][line["source"]].append(bool(line["boxes"]))
    metrics: dict[str, float] = {}
    for rule, sources in found.items():
        means = {source: sum(v) / len(v) for source, v in sorted(sources.items())}
        metrics |= {f"mau/{rule}/{source}": mean for source, mean in means.items()}
        if means:
            metrics[f"mau/{rule}/avg"] = sum(means.values()) / len(means)
    return metrics


def _boxes(line: Line, name: str) -> list[Box]:
    boxes = []
    for corners in line[name]:
        try:
            boxes.append(Box.from_xyxy(corners, line["width"], line["height"]))
        except BoxError:  # so thin that nothing is left of it in pixels
            continue
    return boxes
