"""Pictures and tables in W&B: the first batch before anything is learned, then answers with their rewards."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import lightning as L
import numpy as np
import wandb
from lightning.pytorch.loggers import Logger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image

from umed.callbacks.headlines import define_summary, headline_numbers
from umed.chat import Prompt
from umed.data.augment import flip_as_recorded
from umed.evaluation.evaluate import Evaluation
from umed.evaluation.paper_tables import PaperTable
from umed.evaluation.render import FIELDS, as_lines
from umed.evaluation.score import Score, without_zero_counts
from umed.figures import TRUE, draw_answer, heat_overlay, mark_synthetic
from umed.pictures import contact_sheet, draw_boxes, picture_of
from umed.records import Record
from umed.rewards.total import Scored
from umed.rollout import Rollout, TrainingBatch
from umed.thoughts import without_thoughts

PREDICTED = ("id", "question", "answer", "output")
COLUMNS = ("iteration", "id", "picture", "attention", "query", "answer", "gold")


class RolloutTables(L.Callback):
    """Pictures and tables for W&B; does nothing where no W&B logger is.

    Args:
        every: iterations between two samples of answers, which join one growing table and one picture with a slider.
        rows: answers a table at most, and pictures of the first batch.
    """

    def __init__(self, every: int = 10, rows: int = 16) -> None:
        self.every, self.rows = every, rows
        self.table: wandb.Table | None = None

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        self.table = None
        if (run := _wandb_run(trainer)) is not None:
            define_summary(run, f"{module.stage}/iteration")

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: list[Prompt], *_: Any) -> None:
        run = _wandb_run(trainer)
        if run is None or module.iteration:
            return
        shown = [p.record for p in batch[: self.rows]]
        pictures = [draw_boxes(_picture(trainer, r), r.boxes, TRUE) for r in shown]
        title = f"{mark_synthetic(r.source for r in shown)}{module.stage}, first batch, true boxes"
        sheet = contact_sheet(pictures, [f"{r.source}: {r.category}" for r in shown], title)
        run.log({"first_batch": wandb.Image(sheet), f"{module.stage}/iteration": 0})

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        run = _wandb_run(trainer)
        iteration = module.iteration - 1  # of the batch that has just ended
        if run is None or not outputs or iteration % self.every:  # tuning has no rollout
            return
        batch, scored = outputs["batch"], outputs["scored"]
        rows = spread(batch, self.rows)
        records = {q: batch.records[q] for q in batch.group_B[rows].tolist()}
        pictures = {q: _picture(trainer, r) for q, r in records.items()}
        title = (
            f"{mark_synthetic(r.source for r in records.values())}{module.stage} {iteration}, predicted boxes orange"
        )
        if self.table is None:
            self.table = wandb.Table([*COLUMNS, *scored.raw, "total", "advantage"], log_mode="INCREMENTAL")
        add_rollouts(self.table, iteration, batch, scored, pictures, rows)
        run.log(
            {
                "rollouts/table": self.table,
                "rollouts/pictures": wandb.Image(rollout_sheet(batch, scored, pictures, rows, title)),
                f"{module.stage}/iteration": iteration,
            }
        )


def log_evaluation(logger: WandbLogger, evaluation: Evaluation, figure: Figure | None, rows: int = 100) -> None:
    """Log test metrics, example pictures and the first answers of each data set into a stage's W&B run.

    The headlines are numbers of the run; all scores are rows of the table `test/scores`.

    Args:
        figure: the example pictures, if there are any.
        rows: answers a data set at most, as many of each of its parts.
    """
    logged: dict[str, Any] = {f"test/{name}": value for name, value in evaluation.throughput.items()}
    logged |= headline_numbers(evaluation.scores)
    for name in logged:
        logger.experiment.define_metric(name, summary="last")
    logged["test/scores"] = wandb.Table(columns=[f.name for f in fields(Score)])
    for score in without_zero_counts(evaluation.scores):
        logged["test/scores"].add_data(*(getattr(score, f.name) for f in fields(Score)))
    for dataset, predictions in evaluation.predictions.items():
        parts: dict[str, list[int]] = defaultdict(list)
        for place, prediction in enumerate(predictions):
            parts[prediction.question.part].append(place)
        verdicts = evaluation.verdicts[dataset]
        table = wandb.Table(columns=[*PREDICTED, *verdicts[0]])
        for place in (k for part in parts.values() for k in part[: max(1, rows // len(parts))]):
            question = predictions[place].question
            texts = (question.id, question.question, question.gold, predictions[place].final_answer)
            table.add_data(*texts, *(None if v is None else float(v) for v in verdicts[place].values()))
        logged["predictions" if dataset == "mau" else f"predictions_{dataset}"] = table
    if figure is not None:
        logged["examples"] = wandb.Image(figure)
    logger.experiment.log(logged)


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
            logger.experiment.finish()


def spread(rollout: Rollout, rows: int) -> list[int]:
    """Indices of at most `rows` answers: from as many queries as fit, two or more of each, to compare."""
    of_each = min(rollout.num_candidates, max(2, rows // len(rollout.prompts)))
    queries = range(min(len(rollout.prompts), max(1, rows // of_each)))
    return [q * rollout.num_candidates + g for q in queries for g in range(of_each)][:rows]


def add_rollouts(
    table: wandb.Table,
    iteration: int,
    batch: TrainingBatch,
    scored: Scored,
    pictures: Mapping[int, Image.Image],
    rows: Sequence[int],
) -> None:
    """Answers as rows: picture, attention, texts, each raw reward, their total, the mean advantage.

    Args:
        pictures: by query.
        rows: which answers.
    """
    valid = batch.mask_BT.float()
    advantage = (batch.advantages_BT * valid).sum(1) / valid.sum(1).clamp(min=1)
    for b in rows:
        q = int(batch.group_B[b])
        record, heat = batch.records[q], attention_of(batch, b)
        hot = None if heat is None else draw_answer(heat_overlay(pictures[q], heat), record.boxes, batch.boxes[b])
        table.add_data(
            iteration,
            record.id,
            wandb.Image(draw_answer(pictures[q], record.boxes, batch.boxes[b])),
            None if hot is None else wandb.Image(hot),
            record.query,
            without_thoughts(batch.raw[b]),
            batch.golds[q],
            *(float(value[b]) for value in scored.raw.values()),
            float(scored.total_B[b]),
            float(advantage[b]),
        )


def rollout_sheet(
    rollout: Rollout, scored: Scored, pictures: Mapping[int, Image.Image], rows: Sequence[int], title: str
) -> Image.Image:
    """The same answers as one picture, each with its total reward."""
    asked = [(b, int(rollout.group_B[b])) for b in rows]
    drawn = [draw_answer(pictures[q], rollout.records[q].boxes, rollout.boxes[b]) for b, q in asked]
    captions = [f"{rollout.records[q].category}: R = {float(scored.total_B[b]):.2f}" for b, q in asked]
    return contact_sheet(drawn, captions, title)


def attention_of(rollout: Rollout, b: int) -> np.ndarray | None:
    """Mean attention of answer b's name tokens on the image, 2D; None if nothing was read."""
    named = rollout.name_BN[b] >= 0
    if not named.any() or not rollout.attention_BNP.shape[1]:
        return None
    mean = rollout.attention_BNP[b][named].mean(0)
    return rollout.prompts[int(rollout.group_B[b])].view.heat(mean.float().cpu().numpy())


def _wandb_run(trainer: L.Trainer) -> Any:
    loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
    return loggers[0].experiment if loggers and trainer.is_global_zero else None


def _picture(trainer: Any, record: Record) -> Image.Image:
    return flip_as_recorded(picture_of(record, trainer.datamodule.roots), record)
