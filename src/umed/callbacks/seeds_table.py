"""After a multirun over seeds: stage means and paired gains with bootstrap intervals.

`python -m umed.callbacks.seeds_table FOLDER` makes the same of run folders that lie in FOLDER already.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class SeedsTable(Callback):
    """Hydra callback: reads the finished run folders of a sweep, prints the table, writes `seeds.json` beside them."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        report(Path(config.hydra.sweep.dir))


def report(sweep: Path) -> None:
    """Print the table of the run folders in `sweep` that have all stages; write `seeds.json` beside them."""
    from umed.run_files import read_metrics

    runs = sorted(p.parent for p in sweep.glob("*/metrics.json") if "aar/mau/iou_sampled/avg" in read_metrics(p.parent))
    if not runs:
        print(f"{sweep}: no finished run there", file=sys.stderr)
        return
    table = seeds_table(runs)
    (sweep / "seeds.json").write_text(json.dumps(table, indent=1))
    print_seeds(table, len(runs), sweep)


RULES = ("accuracy", "iou", "iou_sampled")
GAINS = (("sft", "base"), ("ppo", "sft"), ("aar", "sft"), ("aar", "ppo"))


def seeds_table(runs: list[Path]) -> dict[str, list[float]]:
    """`<stage>/<rule>` and `<stage>-<stage>/<rule>` -> mean, low, high."""
    from umed.evaluation.intervals import difference, interval
    from umed.records import read_records

    groups = {r.id: r.group for r in read_records(runs[0] / "records.jsonl")}
    table: dict[str, list[float]] = {}
    for rule in RULES:
        found = {stage: [_verdicts(run, stage, rule) for run in runs] for stage in ("base", "sft", "ppo", "aar")}
        for stage, seeds in found.items():
            table[f"{stage}/{rule}"] = list(interval(seeds, groups))
        for after, before in GAINS:
            gains = [difference(a, b) for a, b in zip(found[after], found[before], strict=True)]
            table[f"{after}-{before}/{rule}"] = list(interval(gains, groups))
    return table


def _verdicts(run: Path, stage: str, rule: str) -> dict[str, dict[str, float]]:
    """Verdict of each record; the mean over its sampled answers for `iou_sampled`."""
    from umed.evaluation.rules.mau import verdicts
    from umed.run_files import read_jsonl

    name = "mau_sampled.jsonl" if rule == "iou_sampled" else "mau.jsonl"
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in read_jsonl(run / "predictions" / stage / name):
        found[line["source"]][line["id"]].append(verdicts(line)[rule.removesuffix("_sampled")])
    return {source: {r: sum(v) / len(v) for r, v in records.items()} for source, records in found.items()}


def print_seeds(table: dict[str, list[float]], seeds: int, sweep: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"{seeds} seeds, mean [95 % bootstrap interval over seeds and patients]", title_justify="left")
    for column in ("", *RULES):
        shown.add_column(column)
    for name in dict.fromkeys(key.split("/")[0] for key in table):
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*table[f"{name}/{rule}"]) for rule in RULES]
        shown.add_row(name.replace("-", " - "), *cells)
    Console(width=110).print(shown)
    print(f"-> {sweep / 'seeds.json'}")


if __name__ == "__main__":
    report(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
