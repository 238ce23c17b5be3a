"""The table of a sweep: rows and paired differences, with a two-level bootstrap over seeds and patients."""

import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import ListConfig, OmegaConf

from umed.evaluation.intervals import Verdicts, bootstrap_intervals, difference, interval
from umed.evaluation.question import without_stand_in
from umed.evaluation.render_sweep import draw_sweep, print_sweep
from umed.evaluation.score import AVERAGE, STAGES, read_scores
from umed.evaluation.verdict_files import Judged, clear_files, read_bins, read_judged
from umed.records import SYNTHETIC
from umed.run_files import METRICS, read_metrics, write_whole

COLUMNS = ("accuracy", "iou", "accuracy_sampled", "iou_sampled", "attention", "false_positives", "false_boxes")
GAINS = (
    ("sft", "base"),
    ("sft_continued", "sft"),
    ("ppo", "sft"),
    ("aar", "sft"),
    ("aar", "sft_continued"),
    ("aar", "ppo"),
)
Row = dict[str, dict[str, float]]  # metric -> value, low, high, n; `paper`: what is published
X = "x"  # the metric that is a row's place in a figure


@dataclass(frozen=True, slots=True)
class Layout:
    """What the table of a sweep shows.

    Args:
        by: keys of the config in which members differ besides the seed; a row's name begins with their values.
        rows: stages; empty = all that every member has.
        metrics: see `read_judged`; what is no verdict is the mean of that number of `metrics.json`.
        differences: pairs of stages; the second is subtracted from the first record by record.
        paper: row -> metric -> the published value.
        edges: of bins of IoU; a row is then a stage's accuracy in a bin.
        figure: `rows`, `metrics`, `label`: lines over the first of `by`, over `x`, a name of metrics.json, or the bins.
    """

    by: Sequence[str] = ()
    rows: Sequence[str] = ()
    metrics: Sequence[str] = COLUMNS
    differences: Sequence[Sequence[str]] = GAINS
    paper: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    edges: Sequence[float] = ()
    figure: Mapping[str, Any] = field(default_factory=dict)


def report_seeds(sweep: Path, file: str = "seeds.json", layout: Layout | None = None) -> None:
    """Print the table of the finished members in `sweep`; write it, and its figure if it has one, beside them.

    Raises:
        InputError: a member's file that is not whole.
    """
    layout = layout or Layout()
    found = sorted(path.parent for path in sweep.glob(f"*/{METRICS}"))
    runs = [run for run in found if is_finished(run, layout.rows)]
    if lost := [run.name for run in found if run not in runs]:
        again = f"the same command with hydra.sweep.dir={sweep} finishes them"
        print(f"{sweep}: not finished and left out: {', '.join(lost)}: {again}", file=sys.stderr)
    if not runs:
        print(f"{sweep}: no finished run there", file=sys.stderr)
        return
    table = build_seeds_table(runs, layout)
    write_whole(sweep / file, json.dumps(table, indent=1) + "\n")
    is_synthetic = any(score.slice.startswith(SYNTHETIC) for score in read_scores(runs[0], "base"))
    mark = "SYNTHETIC pictures, " if is_synthetic else ""
    print_sweep(table, layout.metrics, f"{mark}{describe_members(runs, layout)}, mean [95 % interval]")
    if layout.figure:
        picture = (sweep / file).with_suffix(".png")
        draw_sweep(table, layout.figure, f"{mark}{(sweep / file).stem}").savefig(picture, dpi=110)
        print(f"-> {picture}")
    print(f"-> {sweep / file}")


def describe_members(runs: Sequence[Path], layout: Layout) -> str:
    """How many seeds, and of how many values of what else."""
    groups = group_members(runs, layout.by)
    counts = sorted({len(members) for members in groups.values()})
    seeds = f"{' to '.join(map(str, counts))} seed{'s' * (counts != [1])}"
    return f"{seeds} of each of {len(groups)} values of {', '.join(layout.by)}" if layout.by else seeds


def build_seeds_table(runs: Sequence[Path], layout: Layout | None = None) -> dict[str, Row]:
    """`[<values of by>/]<row>` or `.../<row> - <row>` -> metric -> value, low, high, n.

    Rows of `chance` stand where a metric is of a benchmark that has one.
    """
    layout = layout or Layout()
    clear_files()
    table: dict[str, Row] = {}
    for values, members in group_members(runs, layout.by).items():
        prefix = f"{', '.join(values)}/" if values else ""
        rows = _bin_rows(members, layout) if layout.edges else _stage_rows(members, layout)
        for name, row in rows:
            if x := _read_x(members, layout, values):
                row = {X: x, **row}
            table[prefix + name] = row
    for name, published in layout.paper.items():
        for metric, value in published.items():
            table.setdefault(name, {}).setdefault(metric, {})["paper"] = value
    return table


def group_members(runs: Sequence[Path], by: Sequence[str]) -> dict[tuple[str, ...], list[Path]]:
    """Values of the keys `by` -> the members that have them, in the order of the first one's numbers or names."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for run in runs:
        config = OmegaConf.load(run / ".hydra" / "config.yaml") if by else None
        values = tuple(_describe(OmegaConf.select(config, key)) for key in by) if config is not None else ()
        groups.setdefault(values, []).append(run)
    return dict(sorted(groups.items(), key=lambda item: [(_number(v) or 0.0, v) for v in item[0]]))


def is_finished(run: Path, rows: Sequence[str] = ()) -> bool:
    """Whether every stage that the table needs is evaluated."""
    needed = [row for row in rows] or [STAGES[-1]]
    return all(any(score.rule == "iou_sampled" for score in read_scores(run, stage)) for stage in needed)


def _stage_rows(runs: Sequence[Path], layout: Layout) -> Iterator[tuple[str, Row]]:
    stages = layout.rows or [stage for stage in STAGES if all(read_scores(run, stage) for run in runs)]
    pairs = [(after, before) for after, before in layout.differences if {after, before} <= set(stages)]
    names = [*stages, *(f"{after} - {before}" for after, before in pairs)]
    rows: dict[str, Row] = {name: {} for name in names}
    for metric in layout.metrics:
        judged = {stage: [read_judged(run, stage, metric) for run in runs] for stage in stages}
        for stage in stages:
            cell = make_cell([j.values for j in judged[stage]], judged[stage]) or _read_number(runs, stage, metric)
            if cell:
                rows[stage][metric] = cell
        for after, before in pairs:
            paired = zip(judged[after], judged[before], strict=True)
            gains = [difference(*keep_common([a.values, b.values])) for a, b in paired]
            if cell := make_cell(gains, judged[after]):
                rows[f"{after} - {before}"][metric] = cell
    chance = {m: {"value": v} for m in layout.metrics if (v := _read_chance(runs[0], m)) is not None}
    yield from rows.items()
    if chance:
        yield "chance", chance


def make_cell(seeds: Sequence[Verdicts], judged: Sequence[Judged]) -> dict[str, float]:
    """Mean, interval and items a seed; empty where the seeds have no item in common."""
    common = keep_common(seeds)
    if not all(common):
        return {}
    cell: dict[str, float] = dict(zip(("value", "low", "high"), interval(common, judged[0].groups), strict=True))
    return {**cell, "n": sum(map(len, common[0].values()))}


def keep_common(seeds: Sequence[Verdicts]) -> list[Verdicts]:
    """The verdicts on records that all have: not every answer names the abnormality, so not each has an attention."""
    first, *others = seeds
    kept = {s: [r for r in of if all(r in other.get(s, {}) for other in others)] for s, of in first.items()}
    return [
        {source: {r: seed[source][r] for r in records} for source, records in kept.items() if records} for seed in seeds
    ]


def _bin_rows(runs: Sequence[Path], layout: Layout) -> Iterator[tuple[str, Row]]:
    """Accuracy by bin of IoU: answers of all seeds together, patients drawn anew."""
    edges = tuple(layout.edges)
    for stage in layout.rows or STAGES[-1:]:
        answers = [answer for run in runs for answer in read_bins(run, stage, edges)]
        right_NB = np.full((len(answers), len(edges) - 1), np.nan)
        for row, (place, right, _) in zip(right_NB, answers, strict=True):
            row[place] = right
        spans = bootstrap_intervals(right_NB, [group for _, _, group in answers])
        for k, (start, stop) in enumerate(itertools.pairwise(edges)):
            of_bin = right_NB[~np.isnan(right_NB[:, k]), k]
            if len(of_bin):
                known = {} if np.isnan(spans[k, 0]) else {"low": float(spans[k, 0]), "high": float(spans[k, 1])}
                cell = {"value": float(of_bin.mean()), **known, "n": len(of_bin)}
                yield f"IoU {start:g} to {stop:g}/{stage}", {X: {"value": (start + stop) / 2}, "accuracy": cell}


def _read_x(runs: Sequence[Path], layout: Layout, values: Sequence[str]) -> dict[str, float]:
    if name := layout.figure.get("x"):
        return {"value": float(np.mean([read_metrics(run)[name] for run in runs]))}
    number = _number(values[0]) if values else None
    return {} if number is None else {"value": number}


def _read_number(runs: Sequence[Path], stage: str, metric: str) -> dict[str, float]:
    """The mean of a score that is no mean of verdicts, such as an AUC; it has no interval."""
    found = [_find_score(run, stage, metric, "") for run in runs]
    known = [value for value in found if value is not None]
    return {"value": sum(known) / len(known)} if len(known) == len(runs) else {}


def _read_chance(run: Path, metric: str) -> float | None:
    return _find_score(run, "base", metric, "chance")


def _find_score(run: Path, stage: str, metric: str, row: str) -> float | None:
    dataset, _, rule = metric.rpartition("/")
    for score in read_scores(run, stage):
        is_here = without_stand_in(score.dataset) == (dataset or "mau") and score.slice == ("" if dataset else AVERAGE)
        if is_here and (score.rule, score.row) == (rule, row):
            return score.value
    return None


def _describe(value: Any) -> str:
    """A config's value as a row is called by it."""
    if isinstance(value, ListConfig):
        return "+".join(map(_describe, value))
    return f"{value:g}" if isinstance(value, float) else str(value).removeprefix(SYNTHETIC)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
