"""What a reader of W&B sees: the first batch before anything is learned, then tables of answers with their rewards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import wandb
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from umed.chat import Prompt
from umed.figures import TRUE, draw_answer, heat_overlay
from umed.pictures import draw_boxes, open_picture
from umed.records import Record
from umed.rewards.total import Scored
from umed.rollout import Rollout

COLUMNS = ("picture", "attention", "query", "answer", "gold")


class RolloutTables(L.Callback):
    """Pictures and tables for W&B; does nothing where no W&B logger is.

    Args:
        every: iterations between two tables; each has a key of its own, since a table under an old key replaces it.
        rows: answers a table at most, and pictures of the first batch.
    """

    def __init__(self, stage: str, run: Path, every: int = 10, rows: int = 16) -> None:
        self.stage, self.every, self.rows = stage, every, rows

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        run = _wandb_run(trainer)
        if run is not None:
            run.define_metric(f"{self.stage}/iteration")
            run.define_metric("*", step_metric=f"{self.stage}/iteration", step_sync=True)

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: list[Prompt], *_: Any) -> None:
        run = _wandb_run(trainer)
        if run is None or module.iteration:
            return
        shown = [p.record for p in batch[: self.rows]]
        pictures = [draw_boxes(_picture(trainer, r), r.boxes, TRUE, r.category) for r in shown]
        images = [
            wandb.Image(i, caption=f"{r.source}: {r.category}. {r.query}") for i, r in zip(pictures, shown, strict=True)
        ]
        run.log({"first_batch": images, f"{self.stage}/iteration": 0})

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        run, last = _wandb_run(trainer), getattr(module, "last", None)
        iteration = module.iteration - 1  # of the batch that has just ended
        if run is None or last is None or iteration % self.every:
            return
        rollout, scored = last
        count = min(self.rows, len(rollout.texts))
        # answers to one query stand together: the table takes whole queries
        records = {q: rollout.records[q] for q in rollout.group_B[:count].tolist()}
        pictures = {q: _picture(trainer, r) for q, r in records.items()}
        table = rollout_table(rollout, scored, pictures, count)
        run.log({f"rollouts/{iteration:05d}": table, f"{self.stage}/iteration": iteration})


def rollout_table(rollout: Rollout, scored: Scored, pictures: Mapping[int, Image.Image], count: int) -> wandb.Table:
    """The first `count` answers: picture, attention, texts, each raw reward, their total, the mean advantage.

    Args:
        pictures: by query.
    """
    table = wandb.Table(columns=[*COLUMNS, *scored.raw, "total", "advantage"])
    valid = rollout.mask_BT.float()
    advantage = (rollout.advantages_BT * valid).sum(1) / valid.sum(1).clamp(min=1)
    for b in range(count):
        q = int(rollout.group_B[b])
        record, heat = rollout.records[q], attention_of(rollout, b)
        overlay = pictures[q] if heat is None else heat_overlay(pictures[q], heat)
        table.add_data(
            wandb.Image(draw_answer(pictures[q], record.boxes, rollout.boxes[b])),
            None if heat is None else wandb.Image(draw_answer(overlay, record.boxes, rollout.boxes[b])),
            record.query,
            rollout.raw[b],
            rollout.golds[q],
            *(float(value[b]) for value in scored.raw.values()),
            float(scored.total_B[b]),
            float(advantage[b]),
        )
    return table


def attention_of(rollout: Rollout, b: int) -> np.ndarray | None:
    """Mean attention of answer b's name tokens on the image tokens, (rows, columns); None if nothing was read."""
    named = rollout.name_BN[b] >= 0
    if not named.any() or not rollout.attention_BNP.shape[1]:
        return None
    view = rollout.prompts[int(rollout.group_B[b])].view
    mean = rollout.attention_BNP[b][named].mean(0)[: view.rows * view.columns]
    return mean.reshape(view.rows, view.columns).float().cpu().numpy()


def _wandb_run(trainer: L.Trainer) -> Any:
    found = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    return found[0].experiment if found and trainer.is_global_zero else None


def _picture(trainer: Any, record: Record) -> Image.Image:
    return open_picture(Path(trainer.datamodule.roots[record.source]) / record.image)
