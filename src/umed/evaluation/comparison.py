"""Two runs on the same items: differences with intervals, McNemar's test, and where they disagree."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from umed.errors import InputError
from umed.evaluation.intervals import bootstrap_intervals, mcnemar
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import BoxQuestion, without_stand_in
from umed.evaluation.results import name_pictures
from umed.evaluation.scorer import Scorer, Verdict, group_by_dataset, mean_scores

Pair = tuple[Prediction, Prediction]
MAY_DIFFER = {"question", "image", "categories", "closed_by"}  # between two files of the same items
LONGEST = 100  # characters of a text in an example


@dataclass(frozen=True, slots=True)
class Difference:
    """One rule of one data set in two runs.

    Args:
        first, second: values of the runs on the common items that the rule applies to.
        low, high: 95 % interval of the difference.
        only_first, only_second: items that one run alone has right; p: McNemar's.
    """

    dataset: str
    rule: str
    first: float
    second: float
    difference: float
    n: int
    low: float | None = None
    high: float | None = None
    only_first: int | None = None
    only_second: int | None = None
    p: float | None = None

    def to_metrics(self) -> dict[str, float]:
        """`<dataset>/<rule>/<part>` -> number, parts that do not exist left out."""
        parts = ("first", "second", "difference", "n", "low", "high", "only_first", "only_second", "p")
        values = {part: getattr(self, part) for part in parts}
        return {f"{self.dataset}/{self.rule}/{part}": float(v) for part, v in values.items() if v is not None}


def pair_predictions(
    first: Sequence[Prediction], second: Sequence[Prediction], names: Sequence[str], common: bool
) -> list[Pair]:
    """The predictions of the same items, in the order of the first.

    Args:
        common: items that only one of them has are left out, with a line.

    Raises:
        InputError: such items otherwise, no common one, or items that are not the same.
    """
    here, there = ({_key(p): p for p in predictions} for predictions in (first, second))
    only = [sorted(here.keys() - there.keys()), sorted(there.keys() - here.keys())]
    both = [key for key in here if key in there]
    for name, keys in zip(names, only, strict=True):
        if keys and not common:
            raise InputError(
                f"{name}: {len(keys)} items are in it alone, {keys[0][1]} of {keys[0][0]} among them: compare runs on "
                "the same items, or set task.common=true"
            )
        if keys:
            print(f"{name}: {len(keys)} items are in it alone and left out")
    if not both:
        raise InputError(f"{names[0]} and {names[1]} have no item in common: compare runs on the same items")
    for key in both:
        items = [side[key].question.model_dump(exclude=MAY_DIFFER) for side in (here, there)]
        for field, value in items[0].items():
            if value != items[1][field]:
                raise InputError(
                    f"{key[1]} of {key[0]}: {field} is {value!r} in {names[0]}, {items[1][field]!r} in {names[1]}: "
                    "they are not answers to the same item"
                )
    return [(here[key], there[key]) for key in both]


def compare_pairs(
    pairs: Sequence[Pair],
    verdicts: tuple[Sequence[Verdict], Sequence[Verdict]],
    scorers: Mapping[str, Scorer],
    draws: int,
) -> list[Difference]:
    """Every rule of every data set; an AUC, which is of all items together, has neither interval nor test."""
    differences = []
    for dataset, places in group_by_dataset([first for first, _ in pairs]).items():
        judged = [[side[k] for k in places] for side in verdicts]
        rules = [rule for rule in judged[0][0] if any(verdict[rule] is not None for verdict in judged[0])]
        tables = [np.array([[v[r] for r in rules] for v in side], float).reshape(len(places), -1) for side in judged]
        gain_NR = tables[1] - tables[0]
        intervals = bootstrap_intervals(gain_NR, name_pictures([pairs[k][0] for k in places]), draws)
        for r, (rule, (low, high)) in enumerate(zip(rules, intervals, strict=True)):
            known = ~np.isnan(gain_NR[:, r])
            if not known.any():
                continue
            first, second = (table[known, r] for table in tables)
            test: dict[str, Any] = {} if np.isnan(low) else {"low": float(low), "high": float(high)}
            if all(isinstance(verdict[rule], bool | None) for side in judged for verdict in side):
                only = int((first > second).sum()), int((second > first).sum())
                test |= {"only_first": only[0], "only_second": only[1], "p": mcnemar(*only)}
            gain = float((second - first).mean())
            values = float(first.mean()), float(second.mean()), gain, int(known.sum())
            differences.append(Difference(dataset, rule, *values, **test))
        differences += _compare_whole(scorers[without_stand_in(dataset)], dataset, [pairs[k] for k in places], judged)
    return differences


def _compare_whole(
    scorer: Scorer, dataset: str, pairs: Sequence[Pair], judged: Sequence[Sequence[Verdict]]
) -> list[Difference]:
    """The AUC on the items that have scores in both runs."""
    scored = [k for k, (one, two) in enumerate(pairs) if one.scores and two.scores]
    areas = []
    for side in (0, 1):
        predictions, verdicts = [pairs[k][side] for k in scored], [judged[side][k] for k in scored]
        scores = mean_scores(scorer, dataset, predictions, verdicts) if scored else []
        areas += [score.value for score in scores if score.rule == "auc"]
    return [Difference(dataset, "auc", areas[0], areas[1], areas[1] - areas[0], len(scored))] if len(areas) == 2 else []


def write_item(pair: Pair, verdicts: tuple[Verdict, Verdict]) -> dict[str, Any]:
    """A line of `compare.jsonl`: the item, both outputs, and both verdicts of each rule."""
    (first, second), question = pair, pair[0].question
    item = {name: getattr(question, name) for name in ("id", "dataset", "question", "answer", "image")}
    rules = {rule: [value, verdicts[1][rule]] for rule, value in verdicts[0].items() if value is not None}
    return {**item, "output_first": first.output, "output_second": second.output, **rules}


def print_differences(differences: Sequence[Difference], names: Sequence[str], is_synthetic: bool) -> None:
    """Print a row for each rule of each data set."""
    mark = " (SYNTHETIC pictures)" if is_synthetic else ""
    table = Table(title=escape(f"A = {names[0]}\nB = {names[1]}{mark}"), title_justify="left")
    for column in ("data set", "rule"):
        table.add_column(column, no_wrap=True)
    for column in ("n", "A", "B", "B - A", "95 %", "right in A\nalone", "right in B\nalone", "McNemar p"):
        table.add_column(column, justify="right", no_wrap=True)
    for d in differences:
        interval = "-" if d.low is None else f"{d.low:+.3f} to {d.high:+.3f}"
        values = [str(d.n), f"{d.first:.3f}", f"{d.second:.3f}", f"{d.difference:+.3f}", interval]
        test = ["-"] * 3 if d.p is None else [str(d.only_first), str(d.only_second), f"{d.p:.2g}"]
        table.add_row(d.dataset, d.rule, *values, *test)
    Console(width=150).print(table)


def print_examples(pairs: Sequence[Pair], verdicts: tuple[Sequence[Verdict], Sequence[Verdict]], count: int) -> None:
    """Print the first `count` items of each data set that the runs' verdicts differ most on."""
    gaps: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for place, (pair, one, two) in enumerate(zip(pairs, *verdicts, strict=True)):
        gap = sum(abs(float(two[rule] or 0) - float(one[rule] or 0)) for rule in one)
        if gap:
            gaps[pair[0].question.dataset].append((-gap, place))
    for dataset, ranked in gaps.items():
        for _, place in sorted(ranked)[:count]:
            first, second = pairs[place]
            question = first.question
            gold = question.category if isinstance(question, BoxQuestion) else question.gold
            print(f"{dataset} {question.id}: {_shorten(question.question)} gold: {_shorten(gold)}")
            print(f"  A: {_shorten(first.final_answer)}\n  B: {_shorten(second.final_answer)}")


def _key(prediction: Prediction) -> tuple[str, str]:
    return prediction.question.dataset, prediction.question.id


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."
