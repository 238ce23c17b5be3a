"""The table of a sweep on the terminal, and its figure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from umed.evaluation.tables import print_wide
from umed.figures import Estimate, draw_estimates

WIDEST = 7  # metrics side by side; more of them are rows
Cells = Mapping[str, Mapping[str, Mapping[str, float]]]  # row -> metric -> value, low, high, n, paper


def print_sweep(table: Cells, metrics: Sequence[str], title: str) -> None:
    """Print rows and metrics, the paper's values in columns of their own; of many metrics the transposed table."""
    shown = [m for m in metrics if any(m in row for row in table.values())]
    drawn = Table(title=escape(title), title_justify="left")
    if len(shown) > WIDEST:
        ours = [name for name, row in table.items() if any("value" in cell for cell in row.values())]
        published = [name for name, row in table.items() if any("paper" in cell for cell in row.values())]
        for column in ("metric", "n", *ours, *(f"{name}\n(paper)" for name in published)):
            drawn.add_column(column, justify="left" if column == "metric" else "right")
        for metric in shown:
            found = [table[name].get(metric, {}) for name in ours]
            n = max((int(cell["n"]) for cell in found if "n" in cell), default=None)
            values = [show_number(table[name].get(metric, {}).get("paper")) for name in published]
            drawn.add_row(metric, "-" if n is None else str(n), *map(show_cell, found), *values)
        print_wide(drawn)
        return
    told = [m for m in shown if any("paper" in row.get(m, {}) for row in table.values())]
    for column in ("", *shown, *(f"{m}\n(paper)" for m in told)):
        drawn.add_column(column, justify="right" if column else "left")
    for name, row in table.items():
        papers = (show_number(row.get(m, {}).get("paper")) for m in told)
        drawn.add_row(escape(name), *(show_cell(row.get(m, {})) for m in shown), *papers)
    print_wide(drawn)


def show_cell(cell: Mapping[str, float]) -> str:
    """The value with its interval, as far as they are there."""
    if "value" not in cell:
        return "-"
    return f"{cell['value']:.3f}" + (f" [{cell['low']:.3f}, {cell['high']:.3f}]" if "low" in cell else "")


def show_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def draw_sweep(table: Cells, figure: Mapping[str, Any], title: str) -> Figure:
    """One panel a metric, one line for each of the figure's rows, over `x`.

    Args:
        figure: `rows`, `metrics` and `label`, see `Layout`.
    """
    panels: dict[str, dict[str, list[Estimate]]] = defaultdict(lambda: defaultdict(list))
    for name, row in table.items():
        values, _, stage = name.rpartition("/")
        others = values.split(", ")[1:]  # the first one is the place
        for metric in figure["metrics"]:
            if stage in figure["rows"] and "value" in row.get(metric, {}) and "x" in row:
                cell, x = row[metric], row["x"]["value"]
                estimate = Estimate(x, cell["value"], cell.get("low", cell["value"]), cell.get("high", cell["value"]))
                panels[metric][", ".join([stage, *others])].append(estimate)
    return draw_estimates(panels, figure.get("label", ""), title)
