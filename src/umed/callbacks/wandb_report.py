"""The report's tables and figure in a W&B run of their own."""

from collections.abc import Iterable, Sequence
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger
from matplotlib.figure import Figure

from umed.evaluation.paper_tables import PaperTable
from umed.evaluation.render import FIELDS, as_lines


def log_report(loggers: Iterable[Logger], tables: Sequence[PaperTable], figure: Figure | None) -> None:
    """Log into a W&B run; does nothing where W&B is not among the loggers."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logged: dict[str, Any] = {}
            for table in tables:
                lines: list[Any] = as_lines(table)
                logged[f"report/{table.name}"] = wandb.Table(columns=list(FIELDS), data=lines)
            if figure is not None:
                logged["report/accuracy_by_iou"] = wandb.Image(figure)
            logger.experiment.log(logged)
            logger.finalize("success")
