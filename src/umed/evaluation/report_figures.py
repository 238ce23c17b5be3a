"""What a report shows of a run before its tables: answers to the same pictures after each stage, and training curves.

It loads no model and imports no torch.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from PIL import Image

from umed.errors import InputError
from umed.evaluation.benchmarks.mau import BoxScorer
from umed.evaluation.prediction import Prediction
from umed.evaluation.prediction_files import read_answers
from umed.evaluation.question import BoxQuestion
from umed.evaluation.scorer import Verdict
from umed.figures import draw_answer, draw_reward_curves, shorten_boxes
from umed.pictures import UNREADABLE, picture_of
from umed.records import Record, read_record_set

if TYPE_CHECKING:
    import pandas as pd  # its import takes long

LARGEST = 480  # pixels of an example's side
SHOWN = 4  # examples


@dataclass(frozen=True, slots=True)
class Example:
    """One test picture: what is on it, and a JPEG with boxes and the answer of each stage."""

    name: str
    answers: Sequence[tuple[str, bytes, str]]


def read_history(folder: Path, stage: str) -> pd.DataFrame:
    """What was logged while a stage was trained, one row an iteration; a resumed part replaces what it repeats.

    Raises:
        InputError: nothing was.
    """
    import pandas as pd

    path = folder / "logs" / stage / "metrics.csv"
    if not path.is_file():
        raise InputError(f"{path}: no history of stage {stage}: was it trained in this run?")
    try:
        return pd.read_csv(path).groupby("step").last().rename_axis("iteration")
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not readable ({error}): remove it, or train the stage anew") from None


def draw_curves_of(folder: Path, stages: Sequence[str], mark: str) -> dict[str, Figure]:
    """Stage -> its curves, of the stages of which rewards were logged."""
    histories = {s: read_history(folder, s) for s in stages if (folder / "logs" / s / "metrics.csv").is_file()}
    return {
        stage: draw_reward_curves({stage: history}, f"{mark}{stage}")
        for stage, history in histories.items()
        if "reward/total" in history
    }


def take_turns(records: Sequence[Record]) -> list[Record]:
    """The records, their sources in turn: an order by position alone, which knows nothing of answers."""
    sources = sorted({r.source for r in records})
    queues = [[r for r in records if r.source == source] for source in sources]
    longest = max(map(len, queues), default=0)
    return [queue[i] for i in range(longest) for queue in queues if i < len(queue)]


def describe_answer(prediction: Prediction, verdict: Verdict) -> str:
    """An answer without coordinates, and what it is worth."""
    right = "right" if verdict["accuracy"] else "wrong"
    return f"{shorten_boxes(prediction.final_answer)} [{right}, IoU {verdict['iou']:.2f}]".strip()


def find_examples(folder: Path, stages: Sequence[str], count: int = SHOWN) -> list[Example]:
    """The first test pictures of each source in turn; none where the pictures are not at hand any more."""
    if not all((folder / name).is_file() for name in ("records.jsonl", "sources.json")):
        return []
    data = read_record_set(folder)
    answers = {stage: _read_answers(folder / "predictions" / stage / "mau.jsonl") for stage in stages}
    answers = {stage: of_stage for stage, of_stage in answers.items() if of_stage}
    if not answers:
        return []
    answered = set.intersection(*(set(of_stage) for of_stage in answers.values()))
    examples = []
    for record in [r for r in take_turns(data.records) if r.id in answered][:count]:
        try:
            picture = picture_of(record, data.roots)
        except (InputError, KeyError, *UNREADABLE):
            return []
        shown = [(s, _draw(picture, record, *of_stage[record.id])) for s, of_stage in answers.items()]
        name = f"{record.source}: {record.category}"
        examples.append(Example(name, [(stage, jpeg, text) for stage, (jpeg, text) in shown]))
    return examples


def _read_answers(path: Path) -> dict[str, tuple[Prediction, Verdict]]:
    predictions = read_answers(path, BoxQuestion)
    verdicts = BoxScorer().judge(predictions)
    return {p.question.id: (p, verdict) for p, verdict in zip(predictions, verdicts, strict=True)}


def _draw(picture: Image.Image, record: Record, prediction: Prediction, verdict: Verdict) -> tuple[bytes, str]:
    drawn = draw_answer(picture, record.boxes, prediction.said_boxes)
    drawn.thumbnail((LARGEST, LARGEST))
    content = io.BytesIO()
    drawn.convert("RGB").save(content, format="JPEG", quality=85)
    return content.getvalue(), describe_answer(prediction, verdict)


def find_unfinished(folder: Path, stages: Sequence[str]) -> str:
    """A line that names the stages of a pipeline that have no answers; empty where none is missing.

    Args:
        stages: those with answers.

    Raises:
        InputError: the stored config is damaged.
    """
    config = read_config(folder)
    task = config.get("task") or {}
    if not str(task.get("_target_", "")).endswith("pipeline"):
        return ""
    continued = ["sft_continued"] if task.get("sft_continued") else []
    wanted = ["base", "sft", *continued, *(task.get("stages") or ("ppo", "aar"))]
    missing = [stage for stage in wanted if stage not in stages]
    if not missing:
        return ""
    return f"{folder}: not finished, no answers of {', '.join(missing)} yet: python run.py resume={folder} goes on"


def read_config(folder: Path) -> dict[str, Any]:
    """The stored config of a run, unresolved; empty where there is none. Raises InputError: it is damaged."""
    import yaml

    path = folder / ".hydra" / "config.yaml"
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: not readable ({reason}): remove .hydra/, or run it anew") from None
