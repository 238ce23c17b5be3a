"""The paper-style table: stages as rows, sources as columns, accuracy and IoU."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table


def print_table(metrics: Mapping[str, float], stages: Sequence[str], title: str) -> None:
    """Print accuracy / IoU per source and on average, and the mean IoU of sampled answers."""
    prefix = f"{stages[0]}/mau/accuracy/"
    sources = [name.removeprefix(prefix) for name in metrics if name.startswith(prefix) and not name.endswith("/avg")]
    synthetic = " (SYNTHETIC pictures)" if any(s.startswith("phantom") for s in sources) else ""
    table = Table(title=f"{title}{synthetic}: accuracy / IoU", title_justify="left")
    table.add_column("stage")
    for source in sources:
        table.add_column(source.removeprefix("phantom_"), justify="right")
    for column in ("average", "IoU sampled", "unparsed"):
        table.add_column(column, justify="right")
    for stage in stages:

        def of(rule: str, source: str, stage: str = stage) -> str:
            value = metrics.get(f"{stage}/mau/{rule}/{source}")
            return "-" if value is None else f"{value:.2f}"

        pairs = [f"{of('accuracy', s)} / {of('iou', s)}" for s in (*sources, "avg")]
        table.add_row(stage, *pairs, of("iou_sampled", "avg"), of("unparsed", "avg"))
    Console(width=max(80, 24 + 14 * (len(sources) + 3))).print(table)
