"""The two tables that a pipeline ends in: its stages on MAU, and the base and the last stage on the benchmarks."""

from collections.abc import Iterable, Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from umed.evaluation.score import AVERAGE, CANDIDATES, Score, index_scores
from umed.evaluation.scorer import Scorer
from umed.evaluation.tables import BELOW, HEADS, print_wide
from umed.records import SYNTHETIC

PAPER = ("vqa_rad", "slake", "pmc_vqa", "medmnist_pneumonia", "medmnist_breast", "medmnist_derma")
COLUMNS = {
    "accuracy": "accuracy",
    "iou": "IoU",
    "accuracy_sampled": "accuracy\nof samples",
    "iou_sampled": "IoU\nof samples",
    "attention": "attention on\nthe abnormality",
    "false_positives": "normal called\nabnormal",
    "false_boxes": "normal with\na box",
}


def print_summary(stages: Mapping[str, Sequence[Score]], credits: Mapping[str, str], title: str) -> None:
    """Print a row a stage: means over the sources with 95 % intervals; below the last one what it must beat.

    Args:
        credits: stage -> credit and reading of equation (11), of rewarding stages.
    """
    indexes = {stage: index_scores(scores) for stage, scores in stages.items()}
    shown = [rule for rule in COLUMNS if any(("mau", rule, AVERAGE, "") in index for index in indexes.values())]
    synthetic = any(key[2].startswith(SYNTHETIC) for index in indexes.values() for key in index)
    mark = " (SYNTHETIC pictures)" if synthetic else ""
    table = Table(title=escape(f"{title}{mark}: mean over the sources [95 % interval]"), title_justify="left")
    table.add_column("stage")
    for rule in shown:
        table.add_column(COLUMNS[rule], justify="right")
    table.add_column("credit, reading")
    for stage, index in indexes.items():
        values = (show_interval(index.get(("mau", rule, AVERAGE, ""))) for rule in shown)
        table.add_row(escape(stage), *values, escape(credits.get(stage, "")))
    last = list(indexes.values())[-1]
    for row in BELOW:
        found = [last.get(("mau", rule, AVERAGE, row)) for rule in shown]
        if any(found):
            name = HEADS[row].replace("\n", " ")
            table.add_row(f"  {name}", *("-" if s is None else f"{s.value:.2f}" for s in found), "")
    print_wide(table)


def print_benchmarks(
    base: Sequence[Score], last: Sequence[Score], scorers: Mapping[str, Scorer], name: str, title: str
) -> None:
    """Print a row for each column of the paper's external table, by the rule nearest to the paper's.

    Args:
        name: of the last stage.
    """
    first, second = index_scores(base), index_scores(last)
    columns = [(dataset, column) for dataset in sort_as_paper(scorers) for column in scorers[dataset].columns]
    table = Table(title=escape(title), title_justify="left")
    for head in ("benchmark", "rule"):
        table.add_column(head)
    for head in ("chance", "constant", "n", "base", name):
        table.add_column(head, justify="right")
    for prefix in ("", SYNTHETIC):
        for dataset, column in columns:
            key = (prefix + dataset, column.nearest, "")
            if score := second.get((*key, "")):
                chance = first.get((*key, "chance"))
                candidates = second.get((prefix + dataset, column.nearest, "", CANDIDATES))
                guess = chance.value if chance else 1 / candidates.value if candidates else None
                constant = second.get((*key, "majority"))
                plain = ["-" if v is None else f"{v:.2f}" for v in (guess, constant.value if constant else None)]
                mark = " (SYNTHETIC)" if prefix else ""
                values = show_interval(first.get((*key, ""))), show_interval(score)
                table.add_row(f"{column.title}{mark}", column.nearest, *plain, str(score.n or "-"), *values)
    if table.row_count:
        print_wide(table)


def sort_as_paper(datasets: Iterable[str]) -> list[str]:
    """The data sets of the paper's external table in its order, then all others."""
    return sorted(datasets, key=lambda name: PAPER.index(name) if name in PAPER else len(PAPER))


def show_interval(score: Score | None) -> str:
    """The value, and its interval if it has one."""
    if score is None:
        return "-"
    return f"{score.value:.2f}" + ("" if score.low is None else f" [{score.low:.2f}, {score.high:.2f}]")
