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
from umed.evaluation.score import read_scores
from umed.records import read_records

COLUMNS = ("accuracy", "iou", "accuracy_sampled", "iou_sampled")
STAGES = ("base", "sft", "ppo", "aar")
GAINS = (("sft", "base"), ("ppo", "sft"), ("aar", "sft"), ("aar", "ppo"))


def report_seeds(sweep: Path) -> None:
    """Print the table of the run folders in `sweep` that have all stages; write `seeds.json` beside them."""
    runs = sorted(path.parent for path in sweep.glob("*/metrics.json") if _is_finished(path.parent))
    if not runs:
        print(f"{sweep}: no finished run there", file=sys.stderr)
        return
    table = build_seeds_table(runs)
    (sweep / "seeds.json").write_text(json.dumps(table, indent=1))
    _print_seeds(table, len(runs), sweep)


def build_seeds_table(runs: Sequence[Path]) -> dict[str, tuple[float, float, float]]:
    """`<stage>/<column>` and `<stage>-<stage>/<column>` -> mean, low, high."""
    groups = {record.id: record.group for record in read_records(runs[0] / "records.jsonl")}
    table: dict[str, tuple[float, float, float]] = {}
    for column in COLUMNS:
        of_stage = {stage: [_read_verdicts(run, stage, column) for run in runs] for stage in STAGES}
        for stage, seeds in of_stage.items():
            table[f"{stage}/{column}"] = interval(seeds, groups)
        for after, before in GAINS:
            gains = [difference(a, b) for a, b in zip(of_stage[after], of_stage[before], strict=True)]
            table[f"{after}-{before}/{column}"] = interval(gains, groups)
    return table


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


def _print_seeds(table: dict[str, tuple[float, float, float]], seeds: int, sweep: Path) -> None:
    shown = Table(title=f"{seeds} seeds, mean [95 % bootstrap interval over seeds and patients]", title_justify="left")
    for column in ("", *COLUMNS):
        shown.add_column(column)
    for name in dict.fromkeys(key.split("/")[0] for key in table):
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*table[f"{name}/{column}"]) for column in COLUMNS]
        shown.add_row(name.replace("-", " - "), *cells)
    Console(width=132).print(shown)
    print(f"-> {sweep / 'seeds.json'}")
