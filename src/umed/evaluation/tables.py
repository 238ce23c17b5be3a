"""The paper-style table: stages as rows, sources as columns, accuracy and IoU."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from umed.evaluation.results import BESIDE, ROWS


def print_table(metrics: Mapping[str, float], stages: Sequence[str], title: str) -> None:
    """Print accuracy / IoU per source and on average, and the mean IoU of sampled answers; below the last stage what it
    must beat.
    """
    prefix = f"{stages[0]}/mau/accuracy/"
    below = [name.removeprefix(prefix) for name in metrics if name.startswith(prefix)]
    sources = [name for name in below if "/" not in name and name not in ("avg", *BESIDE)]
    synthetic = " (SYNTHETIC pictures)" if any(s.startswith("phantom") for s in sources) else ""
    table = Table(title=escape(f"{title}{synthetic}: accuracy / IoU"), title_justify="left")
    table.add_column("stage")
    for source in sources:
        table.add_column(escape(source.removeprefix("phantom_")), justify="right")
    for column in ("average", "IoU sampled", "unparsed"):
        table.add_column(column, justify="right")
    rows = [(stage, stage, "") for stage in stages]
    rows += [("  " + HEADS[row].replace("\n", " "), stages[-1], f"/{row}") for row in ("majority", "black", "shuffled")]
    for name, stage, below_it in rows:

        def of(rule: str, source: str, stage: str = stage, below_it: str = below_it) -> str:
            value = metrics.get(f"{stage}/mau/{rule}/{source}{below_it}")
            return "-" if value is None else f"{value:.2f}"

        pairs = [f"{of('accuracy', s)} / {of('iou', s)}" for s in (*sources, "avg")]
        if not below_it or of("accuracy", "avg") != "-":
            table.add_row(escape(name), *pairs, of("iou_sampled", "avg"), of("unparsed", "avg"))
    Console(width=max(80, 36 + 14 * (len(sources) + 3))).print(table)


HEADS = {
    "majority": "majority",
    "question_prior": "question\nalone",
    "black": "black\npicture",
    "shuffled": "another\npicture",
    "disjoint": "not in\ntraining",
}


def print_results(metrics: Mapping[str, float], stages: Sequence[str], title: str) -> None:
    """Print every rule of every data set: value, 95 % interval, n and, beside it, the sanity rows.

    Args:
        metrics: `<stage>/<dataset>/<rule>` and below it `/n`, `/low`, `/high` and the rows.
        stages: "" = no stage in the names.
    """
    shown = [row for row in ROWS if any(name.endswith(f"/{row}") for name in metrics)]
    synthetic = " (phantom_: SYNTHETIC pictures)" if any("phantom_" in name for name in metrics) else ""
    table = Table(title=escape(f"{title}{synthetic}"), title_justify="left")
    for column in ("stage",) if any(stages) else ():
        table.add_column(column)
    for column in ("data set", "rule"):
        table.add_column(column, no_wrap=True)
    for column in ("value", "95 %", "n", *(HEADS.get(row, row) for row in shown)):
        table.add_column(column, justify="right")
    for stage in stages:
        prefix = f"{stage}/" if stage else ""
        rules = [
            n.removeprefix(prefix).removesuffix("/n") for n in metrics if n.startswith(prefix) and n.endswith("/n")
        ]
        for rule in rules:

            def of(part: str = "", name: str = prefix + rule) -> str:
                value = metrics.get(f"{name}/{part}" if part else name)
                return "-" if value is None else f"{value:.3f}"

            low, high = of("low"), of("high")
            interval = "-" if low == "-" else f"{low} - {high}"
            dataset, _, own = rule.partition("/")
            if dataset == "mau" and any(n.startswith(f"{prefix}mau/accuracy/phantom_") for n in metrics):
                dataset = "mau (SYNTHETIC)"
            cells = [dataset, own, of(), interval, f"{metrics[f'{prefix}{rule}/n']:.0f}", *map(of, shown)]
            table.add_row(*([stage] if any(stages) else []), *cells)
    Console(width=max(100, 84 + 11 * len(shown))).print(table)
