"""`task=compare`: two runs on the same items: differences with intervals, McNemar's test, where they disagree."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from umed.errors import InputError, check_positive
from umed.evaluation import verdicts as rules
from umed.evaluation.intervals import grouped_intervals, mcnemar
from umed.evaluation.predictions import Line, read_predictions
from umed.evaluation.question import is_synthetic
from umed.evaluation.results import pictures
from umed.records import write_jsonl, write_whole

Key = tuple[str, str]
SAME = ("answer", "answer_type", "split_file", "choices", "source", "category", "gold_boxes", "width", "height")


def compare(cfg: DictConfig) -> None:
    """Compare `predictions=[A,B]`, files or folders: `compare.json`, `compare.jsonl` and a table.

    Raises:
        InputError: not two of them, other items or other gold answers.
    """
    given = list(cfg.predictions) if not isinstance(cfg.predictions, str | None) else []
    if len(given) != 2:
        raise InputError("predictions: give two files or folders of answers, 'predictions=[A,B]'")
    check_positive("task.draws", cfg.task.draws)
    first, second = (read_predictions(Path(path), cfg.task.dataset) for path in given)
    pairs = paired(first, second, given, cfg.task.common)
    options = {"compat": list(cfg.task.compat), "synonyms": cfg.data.synonyms, "named": cfg.task.named}
    found = []
    for k, lines in enumerate((first, second)):  # each file whole: its gold answers are what open_nearest chooses from
        judged = dict(zip(map(_key, lines), rules.verdicts(lines, **options), strict=True))
        found.append([judged[_key(pair[k])] for pair in pairs])
    rows = differences(pairs, found, cfg.task.draws)
    run = Path(cfg.paths.run_dir)
    flat = {f"{name}/{part}": value for name, row in rows.items() for part, value in row.items()}
    write_whole(run / "compare.json", json.dumps(flat, indent=1, allow_nan=False) + "\n")
    write_jsonl(
        run / "compare.jsonl", (_item(*pair, *both) for pair, both in zip(pairs, zip(*found, strict=True), strict=True))
    )
    _print(rows, given, any(is_synthetic(line) for line in first))
    _print_examples(pairs, found, cfg.task.examples)
    print(f"-> {run / 'compare.json'}   {run / 'compare.jsonl'}")


def _key(line: Line) -> Key:
    return line["dataset"], line["id"]


def paired(
    first: Sequence[Line], second: Sequence[Line], names: Sequence[str], common: bool
) -> list[tuple[Line, Line]]:
    """The lines of the same items, in the order of the first.

    Args:
        common: items that one alone has are left out, and told.

    Raises:
        InputError: such items otherwise, no common one, or items that are not the same.
    """
    here, there = ({_key(line): line for line in lines} for lines in (first, second))
    alone = [sorted(here.keys() - there.keys()), sorted(there.keys() - here.keys())]
    both = [key for key in here if key in there]
    for name, keys in zip(names, alone, strict=True):
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
        for field in SAME:
            one, two = here[key].get(field), there[key].get(field)
            if one != two:
                raise InputError(
                    f"{key[1]} of {key[0]}: {field} is {one!r} in {names[0]}, {two!r} in {names[1]}: they are not "
                    "answers to the same item"
                )
    return [(here[key], there[key]) for key in both]


def differences(
    pairs: Sequence[tuple[Line, Line]], found: Sequence[Sequence[rules.Verdict]], draws: int
) -> dict[str, dict[str, float]]:
    """`<dataset>/<rule>` -> `first`, `second`, `difference`, its `low` and `high`, `n`; of right and wrong also the
    items that one run alone has right and McNemar's `p`.
    """
    parts: dict[str, list[int]] = defaultdict(list)
    for number, (line, _) in enumerate(pairs):
        parts[line["dataset"]].append(number)
    rows: dict[str, dict[str, float]] = {}
    for dataset, numbers in parts.items():
        verdicts = [[found[k][n] for n in numbers] for k in (0, 1)]
        names = [r for r in verdicts[0][0] if any(v[r] is not None for v in verdicts[0])]
        first_NR, second_NR = (
            np.array([[v[r] for r in names] for v in own], float).reshape(len(numbers), -1) for own in verdicts
        )
        gain_NR = second_NR - first_NR
        spans = grouped_intervals(gain_NR, pictures([pairs[n][0] for n in numbers]), draws)
        for r, (rule, (low, high)) in enumerate(zip(names, spans, strict=True)):
            known = ~np.isnan(gain_NR[:, r])
            if not known.any():
                continue
            one, two = first_NR[known, r], second_NR[known, r]
            row = {"first": one.mean(), "second": two.mean(), "difference": (two - one).mean(), "n": known.sum()}
            if not np.isnan(low):
                row |= {"low": low, "high": high}
            if all(isinstance(v[rule], bool | None) for own in verdicts for v in own):
                only = [int((one > two).sum()), int((two > one).sum())]
                row |= {"only_first": only[0], "only_second": only[1], "p": mcnemar(*only)}
            rows[f"{dataset}/{rule}"] = {name: float(value) for name, value in row.items()}
        scored = [n for n in numbers if pairs[n][0]["scores"] and pairs[n][1]["scores"]]
        own = [[pairs[n][k] for n in scored] for k in (0, 1)]
        areas = [rules.metrics(of, rules.verdicts(of)).get(f"{dataset}/auc", np.nan) for of in own]
        if not np.isnan(areas).any():  # of all items together, so it has neither interval nor test
            area = {"first": areas[0], "second": areas[1], "difference": areas[1] - areas[0], "n": len(scored)}
            rows[f"{dataset}/auc"] = area
    return rows


def _item(first: Line, second: Line, one: rules.Verdict, two: rules.Verdict) -> dict[str, Any]:
    shared = {name: first[name] for name in ("id", "dataset", "question", "answer", "image")}
    outputs = {"output_first": first["output"], "output_second": second["output"]}
    return {**shared, **outputs, **{rule: [one[rule], two[rule]] for rule in one if one[rule] is not None}}


def _print(rows: Mapping[str, Mapping[str, float]], names: Sequence[str], synthetic: bool) -> None:
    mark = " (SYNTHETIC pictures)" if synthetic else ""
    table = Table(title=escape(f"A = {names[0]}\nB = {names[1]}{mark}"), title_justify="left")
    for column in ("data set", "rule"):
        table.add_column(column, no_wrap=True)
    for column in ("n", "A", "B", "B - A", "95 %", "right in A\nalone", "right in B\nalone", "McNemar p"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in rows.items():
        span = f"{row['low']:+.3f} to {row['high']:+.3f}" if "low" in row else "-"
        values = [f"{row['n']:.0f}", f"{row['first']:.3f}", f"{row['second']:.3f}", f"{row['difference']:+.3f}", span]
        test = [f"{row['only_first']:.0f}", f"{row['only_second']:.0f}", f"{row['p']:.2g}"] if "p" in row else ["-"] * 3
        table.add_row(*name.split("/", 1), *values, *test)
    Console(width=150).print(table)


def _print_examples(pairs: Sequence[tuple[Line, Line]], found: Sequence[Sequence[rules.Verdict]], count: int) -> None:
    """Items that the runs judge most differently, of each data set the first `count`."""
    gaps: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for number, (pair, one, two) in enumerate(zip(pairs, *found, strict=True)):
        gap = sum(abs(float(two[r] or 0) - float(one[r] or 0)) for r in one)
        if gap:
            gaps[pair[0]["dataset"]].append((-gap, number))
    for dataset, of in gaps.items():
        for _, number in sorted(of)[:count]:
            first, second = pairs[number]
            gold = first.get("category", first["answer"])
            print(f"{dataset} {first['id']}: {_short(first['question'])} gold: {_short(str(gold))}")
            print(f"  A: {_short(first['output'])}\n  B: {_short(second['output'])}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."
