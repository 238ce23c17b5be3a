"""Rows, ratios and tables of what was measured."""

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import median
from typing import Any

from rich.table import Table

from umed.bench.clock import PARTS
from umed.bench.contenders import CONTENDERS, EVALUATION, FIRST
from umed.bench.ours import SAMPLES
from umed.bench.shapes import Shape, Variant, activations, flops
from umed.bench.turns import Measured

Row = dict[str, Any]


def make_row(shape_name: str, shape: Shape, contender: str, turns: Sequence[Measured]) -> Row:
    """Medians and ranges over the steps of all turns; memory is the median of the turns' peaks."""
    seconds = list(chain.from_iterable(t["step_s"] for t in turns))
    step = median(seconds)
    answers = shape.answers * (1 + SAMPLES if CONTENDERS[contender].work == EVALUATION else 1)
    return {
        "shape": shape_name,
        "contender": contender,
        "step_s": step,
        "range_s": [min(seconds), max(seconds)],
        "cpu_s": median(chain.from_iterable(t["cpu_s"] for t in turns)),
        "split_s": {part: median(chain.from_iterable(t["split_s"][part] for t in turns)) for part in PARTS},
        "answers_per_s": answers / step,
        "tokens_per_s": answers * shape.answer_tokens / step,
        "peak_mb": median(t["peak_mb"] for t in turns),
        "start_mb": median(t["start_mb"] for t in turns),
        "turns": len(turns),
        "steps": len(seconds),
    }


def make_ratios(rows: Sequence[Row]) -> dict[str, float]:
    """`<shape>/<contender>`: its seconds over ours; `<shape>/<contender>/memory`: our peak over its."""
    by_name = {(row["shape"], row["contender"]): row for row in rows}
    ratios = {}
    for (shape, contender), row in by_name.items():
        first = FIRST[CONTENDERS[contender].work]
        if contender != first:
            ours = by_name[shape, first]
            ratios[f"{shape}/{contender}"] = row["step_s"] / ours["step_s"]
            ratios[f"{shape}/{contender}/memory"] = ours["peak_mb"] / row["peak_mb"]
    return ratios


def make_scaling(measured: Sequence[tuple[Variant, Sequence[Measured]]]) -> list[Row]:
    """Ours at each variant: time and memory, and how much more than at the first of its axis; the law's beside."""
    rows: list[Row] = []
    first: dict[str, tuple[Row, Shape]] = {}
    for variant, turns in measured:
        row = make_row(variant.name, variant.shape, "ours", turns)
        row |= {"axis": variant.axis, "value": variant.value, "used_mb": row["peak_mb"] - row["start_mb"]}
        start, shape = first.setdefault(variant.axis, (row, variant.shape))
        row["time_ratio"] = row["step_s"] / start["step_s"]
        row["time_law"] = flops(variant.shape) / flops(shape)
        row["memory_ratio"] = row["used_mb"] / start["used_mb"]
        row["memory_law"] = activations(variant.shape) / activations(shape)
        rows.append(row)
    return rows


def tabulate(rows: Sequence[Row], ratios: Mapping[str, float]) -> Table:
    """One line a contender; how many times faster ours is than it, by CPU seconds too, and ours of its memory.

    CPU seconds of one thread hardly depend on what else the machine does.
    """
    by_name = {(row["shape"], row["contender"]): row for row in rows}
    head = ["shape", "contender", "s/step", "range", "CPU s", "sample", "score", "update", "tokens/s", "peak MB"]
    table = Table(*head, "ours faster", "by CPU", "our memory", title="seconds a step, medians", title_justify="left")
    for row in rows:
        key = f"{row['shape']}/{row['contender']}"
        low, high = row["range_s"]
        parts = [f"{row['split_s'][part]:.3f}" for part in PARTS]
        cpu = row["cpu_s"] / by_name[row["shape"], FIRST[CONTENDERS[row["contender"]].work]]["cpu_s"]
        compared = (ratios[key], cpu, ratios[f"{key}/memory"]) if key in ratios else (None, None, None)
        table.add_row(
            row["shape"],
            CONTENDERS[row["contender"]].title,
            f"{row['step_s']:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{row['cpu_s']:.3f}",
            *parts,
            f"{row['tokens_per_s']:.0f}",
            f"{row['peak_mb']:.0f}",
            *("" if value is None else f"{value:.2f}x" for value in compared),
        )
    return table


def tabulate_scaling(rows: Sequence[Row]) -> Table:
    """Growth along each axis, and the law that it should follow."""
    head = ["axis", "value", "s/step", "times", "by FLOPs", "MB used", "times", "by tensors"]
    table = Table(*head, title="growth of ours from the first row of each axis", title_justify="left")
    for row in rows:
        table.add_row(
            row["axis"],
            str(row["value"]),
            f"{row['step_s']:.3f}",
            f"{row['time_ratio']:.2f}",
            f"{row['time_law']:.2f}",
            f"{row['used_mb']:.0f}",
            f"{row['memory_ratio']:.2f}",
            f"{row['memory_law']:.2f}",
        )
    return table
