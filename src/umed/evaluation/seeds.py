"""Runs of several seeds: stage means and paired gains with a two-level bootstrap over seeds and patients."""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from umed.evaluation.benchmarks.mau import BoxScorer
from umed.evaluation.intervals import Verdicts, difference, interval
from umed.evaluation.prediction_files import read_answers
from umed.evaluation.question import BoxQuestion
from umed.evaluation.score import STAGES, read_scores
from umed.records import read_records
from umed.run_files import write_whole

COLUMNS = ("accuracy", "iou", "accuracy_sampled", "iou_sampled")
GAINS = (
    ("sft", "base"),
    ("sft_continued", "sft"),
    ("ppo", "sft"),
    ("aar", "sft"),
    ("aar", "sft_continued"),
    ("aar", "ppo"),
)
Row = dict[str, dict[str, float]]  # column -> value, low, high


def report_seeds(sweep: Path, file: str = "seeds.json") -> None:
    """Print the table of the run folders in `sweep` that have all stages; write it beside them."""
    runs = sorted(path.parent for path in sweep.glob("*/metrics.json") if _is_finished(path.parent))
    if not runs:
        print(f"{sweep}: no finished run there", file=sys.stderr)
        return
    table = build_seeds_table(runs)
    write_whole(sweep / file, json.dumps(table, indent=1) + "\n")
    _print_seeds(table, len(runs), sweep / file)


def build_seeds_table(runs: Sequence[Path]) -> dict[str, Row]:
    """Of each stage that all runs have, and of each difference `<stage> - <stage>`: column -> value, low, high."""
    groups = {record.id: record.group for record in read_records(runs[0] / "records.jsonl")}
    stages = [stage for stage in STAGES if all(read_scores(run, stage) for run in runs)]
    gains = [(after, before) for after, before in GAINS if {after, before} <= set(stages)]
    table: dict[str, Row] = defaultdict(dict)
    for column in COLUMNS:
        of_stage = {stage: [_read_verdicts(run, stage, column) for run in runs] for stage in stages}
        rows = dict(of_stage)
        for after, before in gains:
            paired = zip(of_stage[after], of_stage[before], strict=True)
            rows[f"{after} - {before}"] = [difference(a, b) for a, b in paired]
        for name, seeds in rows.items():
            table[name][column] = dict(zip(("value", "low", "high"), interval(seeds, groups), strict=True))
    return dict(table)


def _is_finished(run: Path) -> bool:
    return any(score.rule == "iou_sampled" for score in read_scores(run, STAGES[-1]))


def _read_verdicts(run: Path, stage: str, column: str) -> Verdicts:
    """Source -> record -> verdict; of several answers to a record the mean."""
    name = "mau_sampled.jsonl" if column.endswith("_sampled") else "mau.jsonl"
    predictions = read_answers(run / "predictions" / stage / name, BoxQuestion)
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for prediction, verdict in zip(predictions, BoxScorer().judge(predictions), strict=True):
        question = prediction.question
        values[question.part][question.id].append(float(verdict[column.removesuffix("_sampled")] or 0.0))
    return {source: {r: sum(of) / len(of) for r, of in records.items()} for source, records in values.items()}


def _print_seeds(table: dict[str, Row], seeds: int, file: Path) -> None:
    shown = Table(title=f"{seeds} seeds, mean [95 % bootstrap interval over seeds and patients]", title_justify="left")
    for column in ("", *COLUMNS):
        shown.add_column(column)
    for name, row in table.items():
        shown.add_row(name, *("{value:.3f} [{low:.3f}, {high:.3f}]".format(**row[column]) for column in COLUMNS))
    Console(width=132).print(shown)
    print(f"-> {file}")
