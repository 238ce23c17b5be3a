"""Paper tables as text, CSV, LaTeX and HTML."""

import csv
import html
import io
import textwrap
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from umed.evaluation.paper_tables import Cell, PaperTable, Row

FIELDS = ("table", "row", "origin", "column", "value", "low", "high", "rule", "split_file", "n")
_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
          "[": "{[}", "]": "{]}"}  # fmt: skip


def shown(cell: Cell | None, digits: int) -> str:
    """The value, empty where there is none."""
    return "" if cell is None else f"{cell.value:.{digits}f}"


def footnotes(table: PaperTable) -> list[str]:
    """The notes, then rule, split file and n of our cells, columns of one rule and file on one line."""
    told: dict[str, dict[str, None]] = defaultdict(dict)
    for row in (r for r in table.rows if r.origin == "ours"):
        for key, cell in row.cells.items():
            n = "not known" if cell.n is None else str(cell.n)
            told[f"{cell.rule}, {cell.split_file}"][f"{n} ({table.columns[key]})"] = None
    return [*table.notes, *(f"{what}: n = {', '.join(counts)}" for what, counts in told.items())]


def as_text(table: PaperTable, width: int = 160) -> str:
    """A table for people, its footnotes below."""
    text = io.StringIO()
    columns = [key for key in table.columns if any(key in row.cells for row in table.rows)]
    drawn = Table(title=escape(table.title), title_justify="left")
    drawn.add_column("", max_width=40, overflow="fold")  # a file's name may be long
    for key in columns:
        drawn.add_column(escape(textwrap.fill(table.columns[key], 12)), justify="right")
    for before, row in zip([None, *table.rows], table.rows, strict=False):
        if before is not None and before.origin == "published" != row.origin:
            drawn.add_section()
        drawn.add_row(
            escape(f"  {row.name}" if row.under else row.name),
            *(shown(row.cells.get(key), table.digits) for key in columns),
        )
    needed = Console(width=10_000).measure(drawn).maximum  # in less, it cuts the last columns off
    Console(file=text, width=max(width, needed)).print(drawn)
    for note in footnotes(table):
        text.write(textwrap.fill(note, width, initial_indent="  ", subsequent_indent="    ") + "\n")
    return text.getvalue()


def as_csv(tables: Sequence[PaperTable]) -> str:
    """A line a cell, with everything it is a value of."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for table in tables:
        writer.writerows(["" if v is None else v for v in line] for line in as_lines(table))
    return text.getvalue()


def as_lines(table: PaperTable) -> list[list[Any]]:
    """A line a cell, in the order of `FIELDS`."""
    lines: list[list[Any]] = []
    for row in table.rows:
        name = f"{row.under}: {row.name}" if row.under else row.name
        for key, cell in row.cells.items():
            is_of = (cell.rule, cell.split_file, cell.n)
            lines.append([table.name, name, row.origin, table.columns[key], cell.value, cell.low, cell.high, *is_of])
    return lines


def as_latex(table: PaperTable) -> str:
    """A `table` with booktabs rules."""
    columns = [key for key in table.columns if any(key in row.cells for row in table.rows)]
    lines = [
        r"\begin{table}",
        rf"\caption{{{_tex(table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(["", *(_tex(table.columns[key]) for key in columns)]) + r" \\",
        r"\midrule",
    ]
    for before, row in zip([None, *table.rows], table.rows, strict=False):
        if before is not None and before.origin == "published" != row.origin:
            lines.append(r"\midrule")
        indent = r"\quad " if row.origin == "sanity" else ""
        cells = (shown(row.cells.get(key), table.digits) for key in columns)
        lines.append(" & ".join([indent + _tex(row.name), *cells]) + r" \\")
    notes = [rf"\\ {{\footnotesize {_tex(note)}}}" for note in footnotes(table)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes, r"\end{table}", ""])


def as_html(table: PaperTable) -> str:
    """A table whose cells tell rule, split file, n and interval when pointed at."""
    columns = [key for key in table.columns if any(key in row.cells for row in table.rows)]
    head = "".join(f"<th>{html.escape(table.columns[key])}</th>" for key in columns)
    head = f'<tr class="head"><th></th>{head}</tr>'
    rows = "".join(
        f'<tr class="{row.origin}"><th>{html.escape(row.name)}</th>'
        + "".join(_html_cell(row, key, table) for key in columns)
        + "</tr>"
        for row in table.rows
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in footnotes(table))
    title = html.escape(table.title)
    return f"<h2>{title}</h2><table>{head}{rows}</table><ul>{notes}</ul>"


def _html_cell(row: Row, key: str, table: PaperTable) -> str:
    cell, digits = row.cells.get(key), table.digits
    if cell is None:
        return "<td></td>"
    span = "" if cell.low is None else f", 95 %: {cell.low:.{digits}f} to {cell.high:.{digits}f}"
    told = f"{cell.rule}, {cell.split_file}, n {'not stated' if cell.n is None else f'= {cell.n}'}{span}"
    return f'<td data-column="{html.escape(table.columns[key])}" title="{html.escape(told)}">{shown(cell, digits)}</td>'


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
