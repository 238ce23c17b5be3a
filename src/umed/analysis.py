"""A run folder as tables and pictures: what notebooks and figures read, with no need of W&B."""

import json
import os
import sys
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from umed import config
from umed.chat import REGION
from umed.engine.device import Placement, build_to_answer, find_critic
from umed.errors import InputError
from umed.evaluation.attention import answer_with_attention
from umed.evaluation.benchmarks.mau import BoxScorer
from umed.evaluation.prediction import Prediction
from umed.evaluation.prediction_files import read_answers
from umed.evaluation.question import BoxQuestion
from umed.evaluation.report_figures import describe_answer, read_history, take_turns
from umed.evaluation.score import STAGES, read_scores
from umed.evaluation.scorer import Verdict
from umed.figures import draw_answer, draw_grid, draw_reward_curves, heat_overlay, mark_synthetic, shorten_boxes
from umed.models.policy import Policy
from umed.pictures import picture_of
from umed.records import Record, read_records
from umed.run_files import read_metrics


class Run:
    """Everything that a run folder says; read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def config(self) -> DictConfig:
        """The config that the run was started with."""
        if not OmegaConf.has_resolver("umed.package"):
            config.register()
        return config.stored_config(self.folder)

    @cached_property
    def started_in(self) -> Path:
        """The folder that relative paths of the config refer to."""
        note = self.folder / ".hydra" / "hydra.yaml"
        return Path(OmegaConf.load(note).hydra.runtime.cwd) if note.is_file() else Path.cwd()

    @cached_property
    def records(self) -> list[Record]:
        """Those with boxes."""
        return [r for r in read_records(self.folder / "records.jsonl") if r.boxes]

    @cached_property
    def roots(self) -> dict[str, Path]:
        """Folder of each source's pictures."""
        roots = json.loads((self.folder / "sources.json").read_text(encoding="utf-8"))
        return {name: self.started_in / root for name, root in roots.items()}

    @property
    def metrics(self) -> dict[str, float]:
        return read_metrics(self.folder)

    @property
    def stages(self) -> list[str]:
        """Stages with predictions, in the order of training."""
        return _in_order(p.parent.name for p in self.folder.glob("predictions/*/mau.jsonl"))

    @property
    def synthetic(self) -> str:
        """The beginning of titles; empty where the pictures are real."""
        return mark_synthetic(self.roots)

    def history(self, stage: str) -> pd.DataFrame:
        """What was logged while a stage was trained, one row an iteration; a resumed part replaces what it repeats."""
        return read_history(self.folder, stage)

    def predictions(self, stage: str) -> pd.DataFrame:
        """The answers to the test queries with the verdict of every rule."""
        return pd.DataFrame([{**p.to_line(), **verdict} for p, verdict in self.judged(stage)])

    def judged(self, stage: str) -> list[tuple[Prediction, Verdict]]:
        """MAU's predictions of a stage with their verdicts."""
        predictions = read_answers(self.folder / "predictions" / stage / "mau.jsonl", BoxQuestion)
        return list(zip(predictions, BoxScorer().judge(predictions), strict=True))

    def table(self) -> pd.DataFrame:
        """Stages x (source, rule): accuracy and IoU, as in the paper's tables."""
        cells: dict[tuple[str, str], dict[str, float]] = {}
        for stage in self.stages:
            values = {s.key: s.value for s in read_scores(self.folder, stage)}
            for source in [*self.sources, "avg"]:
                for column, rule in (("accuracy", "accuracy"), ("IoU", "iou")):
                    value = values.get(("mau", rule, source, ""), float("nan"))
                    cells.setdefault((source, column), {})[stage] = value
        return pd.DataFrame(cells, index=pd.Index(self.stages, name="stage"))

    def counts(self) -> pd.DataFrame:
        """Records by source, modality and category, in each split."""
        rows = [(r.source, r.modality, r.category, r.split) for r in self.records]
        frame = pd.DataFrame(rows, columns=["source", "modality", "category", "split"])
        return frame.value_counts().unstack("split", fill_value=0).sort_index()

    @property
    def sources(self) -> list[str]:
        return sorted({r.source for r in self.records})

    def picture(self, record: Record) -> Image.Image:
        return picture_of(record, self.roots)

    def some(self, count: int, split: str = "test") -> list[Record]:
        """Records of a split, the sources in turn: chosen before anything was answered, by position alone."""
        return take_turns([r for r in self.records if r.split == split])[:count]

    def data(self, count: int = 10) -> Figure:
        """Pictures with their true boxes and the annotated diagnosis."""
        shown = self.some(count, "train")
        width = min(5, len(shown))
        cells = [
            (draw_answer(self.picture(r), r.boxes, None), f"{r.query} {r.diagnosis.replace(REGION, '(box)')}")
            for r in shown
        ]
        rows = [cells[i : i + width] for i in range(0, len(cells) // width * width, width)]
        return draw_grid(rows, [""] * width, [""] * len(rows), f"{self.synthetic}true boxes in green")

    def examples(self, count: int = 5, stages: Sequence[str] | None = None) -> Figure:
        """The same test pictures after each stage: gold boxes in green, predicted ones in orange, the answer below."""
        stages = list(stages or self.stages)
        answers = {s: {p.question.id: (p, verdict) for p, verdict in self.judged(s)} for s in stages}
        answered = set.intersection(*(set(a) for a in answers.values()))
        records = [r for r in self.some(len(self.records)) if r.id in answered][:count]
        if not records:
            raise InputError(f"{self.folder}: no test record is answered by all of {', '.join(stages)}")
        rows = [[self._answered(r, *answers[s][r.id]) for s in stages] for r in records]
        names = [f"{r.source}: {r.category}" for r in records]
        return draw_grid(rows, stages, names, f"{self.synthetic}true boxes green, predicted boxes orange")

    def _answered(self, record: Record, prediction: Prediction, verdict: Verdict) -> tuple[Image.Image, str]:
        picture = draw_answer(self.picture(record), record.boxes, prediction.said_boxes)
        return picture, describe_answer(prediction, verdict)

    def reward_curves(self) -> Figure:
        """Rewards, critic and validation over the iterations of each rewarding stage."""
        trained = [s for s in _in_order(p.parent.name for p in self.folder.glob("logs/*/metrics.csv")) if s != "sft"]
        shown = {s: h for s in trained if "reward/total" in (h := self.history(s))}
        if not shown:
            raise InputError(f"{self.folder}: no rewarding stage was trained in this run")
        return draw_reward_curves(shown, f"{self.synthetic}{self.folder.name}")

    def adapter(self, stage: str) -> Path | None:
        """The adapter folder of a stage; None for the base model."""
        if stage == "base":
            return None
        found = [p for p in (self.folder / "adapter" / stage, self.folder / "adapter") if (p / "umed.json").is_file()]
        for folder in found:
            if json.loads((folder / "umed.json").read_text())["stage"] == stage:
                return folder
        raise InputError(f"{self.folder}: no adapter of stage {stage} there")

    def attention(self, stage: str, record: Record) -> Figure:
        """Where a stage looks while it names the abnormality, over the picture with predicted and gold boxes."""
        return self.attentions([record], [stage])

    def attentions(self, records: Sequence[Record], stages: Sequence[str]) -> Figure:
        """The same for several records and stages."""
        columns = [[self._attended(s, r) for r in records] for s in stages]
        rows = [list(row) for row in zip(*columns, strict=True)]
        names = [f"{r.source}: {r.category}" for r in records]
        return draw_grid(rows, list(stages), names, f"{self.synthetic}attention of the abnormality's name")

    def _attended(self, stage: str, record: Record) -> tuple[Image.Image, str]:
        policy, placement = _load(self, stage)
        picture = self.picture(record)
        others = tuple(sorted({r.category for r in self.records if r.source == record.source} - {record.category}))
        prompt = policy.processor.prompt(picture, record, others)
        with placement.autocast():
            prediction, heat = answer_with_attention(policy, prompt, self.config.method.max_new_tokens)
        names_none = "" if heat is not None else " [names no abnormality of its source]"
        text = shorten_boxes(prediction.final_answer) + names_none
        overlay = picture if heat is None else heat_overlay(picture, heat)
        return draw_answer(overlay, record.boxes, prediction.said_boxes), text


@lru_cache(maxsize=1)
def _load(run: Run, stage: str) -> tuple[Policy, Placement]:
    model, adapter = run.config.model, run.adapter(stage)
    if (run.started_in / model.path).exists():
        model.path = str(run.started_in / model.path)
    if str(run.started_in) not in sys.path:  # a critic in a user's file
        sys.path.append(str(run.started_in))
    return build_to_answer(run.config, str(adapter) if adapter else None, find_critic(run.config, adapter))


def policy_of(run: Run, stage: str) -> Policy:
    """The model of a run after a stage as it was trained, ready to answer; the last one is kept.

    It lies where the run was trained; on another machine, set `run.config.trainer.accelerator` first.
    """
    return _load(run, stage)[0]


def open_run(folder: str | Path | None = None) -> Run:
    """A run folder, ready to be looked at: this one, or that of the environment variable UMED_RUN, or the newest.

    Raises:
        InputError: no run there.
    """
    path = Path(folder or os.environ.get("UMED_RUN") or newest_run()).resolve()
    if not (path / "metrics.json").is_file():
        raise InputError(f"{path}: no metrics.json there: give the folder of a run")
    return Run(path)


def newest_run(runs: str | Path = "../runs") -> Path:
    """The run folder that was written to last.

    Raises:
        InputError: there is none yet.
    """
    found = sorted(Path(runs).glob("**/metrics.json"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise InputError(f"{Path(runs).resolve()}: no run there yet: start one with python run.py, or set UMED_RUN")
    return found[-1].parent


def write_figures(folder: str | Path) -> None:
    """`figures/`: the same pictures after each stage, where the last stages look, and the curves of rewarding."""
    run = open_run(folder)
    target = run.folder / "figures"
    target.mkdir(exist_ok=True)
    run.examples().savefig(target / "examples.png", dpi=110)
    if any(run.folder.glob("logs/*/metrics.csv")):  # none with logger=none
        run.reward_curves().savefig(target / "reward_curves.png", dpi=110)
    run.attentions(run.some(3), run.stages[1:]).savefig(target / "attention.png", dpi=110)


def _in_order(stages: Any) -> list[str]:
    return sorted(stages, key=lambda s: (STAGES.index(s) if s in STAGES else len(STAGES), s))
