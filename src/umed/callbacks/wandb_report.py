"""The report's tables and figure in a W&B run of their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb
from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure
from omegaconf import DictConfig

from umed.evaluation.paper_tables import PaperTable
from umed.evaluation.render import FIELDS, as_lines


def log_report(cfg: DictConfig, tables: Sequence[PaperTable], figure: Figure | None, run: Path) -> None:
    """Log into the W&B run `report` of a run folder; does nothing where W&B is not among the loggers."""
    for make in instantiate(cfg.logger).values():
        logger = make(stage="report", run=run)
        if isinstance(logger, WandbLogger):
            logged: dict[str, Any] = {}
            for table in tables:
                lines: list[Any] = as_lines(table)
                logged[f"report/{table.name}"] = wandb.Table(columns=list(FIELDS), data=lines)
            if figure is not None:
                logged["report/accuracy_by_iou"] = wandb.Image(figure)
            logger.experiment.log(logged)
            logger.finalize("success")
