"""A data set's result: the rules' values with their intervals, and the sanity rows beside them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from umed.evaluation import verdicts as rules
from umed.evaluation.intervals import grouped_intervals, grouped_means, spans
from umed.evaluation.question import kind
from umed.evaluation.rules.labels import LABELS
from umed.evaluation.rules.mentions import NO_ALIASES

Line = dict[str, Any]
Verdict = Mapping[str, bool | float | None]
BOXES = tuple(f"mau/{rule}" for rule in ("iou", "acc@0.5", "unparsed"))
ROWS = ("majority", "chance", "question_prior", "black", "shuffled", "disjoint")
BESIDE = ("n", "low", "high", "disjoint_n", *ROWS)  # what stands below a rule besides MAU's sources


def results(
    lines: Sequence[Line],
    found: Sequence[Verdict],
    rows: Mapping[str, Sequence[Line]] | None = None,
    leaked: Mapping[str, Collection[str]] | None = None,
    *,
    compat: Sequence[str] = (),
    synonyms: Mapping[str, Sequence[str]] = NO_ALIASES,
    named: bool = False,
    draws: int = 2000,
) -> dict[str, float]:
    """Everything that stands in `metrics.json`, without a stage.

    Args:
        lines: of any data sets.
        found: their verdicts.
        rows: sanity row -> its lines, answers to the same items.
        leaked: data set -> ids of items whose picture lies in training.
        compat, synonyms, named: see `rules.verdicts`.
        draws: of the bootstrap; 0 = no intervals.

    Returns:
        `<dataset>/<rule>`, `/n`, `/low` and `/high` (95 %, pictures drawn anew), `/<row>` for each sanity row,
        `/chance` and, where some items leak, `/disjoint` and `/disjoint_n`: the value without them. Of MAU the interval
        and the rows also below `mau/<rule>/<source>` and `mau/<rule>/avg`.
    """
    metrics = rules.metrics(lines, found)
    metrics |= {name: value for name, value in _chance(lines).items() if name.removesuffix("/chance") in metrics}
    for dataset, numbers in _parts(lines).items() if draws else ():
        own, verdicts = [lines[n] for n in numbers], [found[n] for n in numbers]
        names = [rule for rule in verdicts[0] if any(v[rule] is not None for v in verdicts)]
        values_NR = np.array([[v[rule] for rule in names] for v in verdicts], float).reshape(len(own), -1)
        for rule, (low, high) in zip(names, grouped_intervals(values_NR, pictures(own), draws), strict=True):
            if not np.isnan(low):
                metrics |= {f"{dataset}/{rule}/low": float(low), f"{dataset}/{rule}/high": float(high)}
        if kind(dataset) == "mau":
            metrics |= _by_source(own, verdicts, draws)
    for row, said in (rows or {}).items():
        found_row = _row(said, rules.verdicts(said, compat, synonyms, named), row)
        no_box = row in ("majority", "question_prior")
        metrics |= {n: v for n, v in found_row.items() if not (no_box and n.startswith(BOXES))}
    for dataset, ids in (leaked or {}).items():
        kept = [n for n, line in enumerate(lines) if line["dataset"] == dataset and line["id"] not in ids]
        if ids and kept:
            metrics |= _row([lines[n] for n in kept], [found[n] for n in kept], "disjoint", counted=True)
    return metrics


def pictures(lines: Sequence[Line]) -> list[str]:
    """The group of each line for a bootstrap: its picture; the item itself where the line names none."""
    return [f"{line.get('source', '')}/{line['image']}" if line["image"] else f"id {line['id']}" for line in lines]


def _parts(lines: Sequence[Line]) -> dict[str, list[int]]:
    parts: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        parts[line["dataset"]].append(number)
    return parts


def _by_source(lines: Sequence[Line], found: Sequence[Verdict], draws: int) -> dict[str, float]:
    """`mau/<rule>/<source>/low` and `/high`, and those of the plain mean of the sources under `mau/<rule>/avg`."""
    names = list(found[0])
    parts: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        parts[line["source"]].append(number)
    means: dict[str, np.ndarray] = {}
    for seed, (source, numbers) in enumerate(sorted(parts.items())):
        values_NR = np.array([[found[n][rule] for rule in names] for n in numbers], float)
        means[source] = grouped_means(values_NR, pictures([lines[n] for n in numbers]), draws, seed)
    means["avg"] = np.mean(list(means.values()), 0)
    result: dict[str, float] = {}
    for name, means_DR in means.items():
        for rule, (low, high) in zip(names, spans(means_DR), strict=True):
            if not np.isnan(low):
                result |= {f"mau/{rule}/{name}/low": float(low), f"mau/{rule}/{name}/high": float(high)}
    return result


def _row(lines: Sequence[Line], found: Sequence[Verdict], row: str, counted: bool = False) -> dict[str, float]:
    """`<dataset>/<rule>` as `<dataset>/<rule>/<row>`; of MAU also by source and on average."""
    values = rules.metrics(lines, found)
    plain = {n: v for n, v in values.items() if n.count("/") == 1 or (n.startswith("mau/") and not n.endswith("/n"))}
    counts = {f"{n}/{row}_n": values[f"{n}/n"] for n in plain if counted and f"{n}/n" in values}
    return {f"{name}/{row}": value for name, value in plain.items()} | counts


def _chance(lines: Sequence[Line]) -> dict[str, float]:
    """What guessing among the choices or labels gives."""
    chance: dict[str, float] = {}
    for dataset in _parts(lines):
        if kind(dataset) == "pmc_vqa":
            types = {line["answer_type"] for line in lines if line["dataset"] == dataset}
            of = {"choice": ("choice_letter", "choice_likelihood", "choice_nearest"), "blank": ("blank_nearest",)}
            chance |= {f"{dataset}/{rule}/chance": 0.25 for t in types for rule in of[t]}
        elif kind(dataset) in LABELS:
            share = 1 / len(LABELS[kind(dataset)])
            chance |= {f"{dataset}/{rule}/chance": share for rule in ("acc", "acc_generated")}
            chance[f"{dataset}/auc/chance"] = 0.5
    return chance
