"""`Question`: one item of a benchmark; with a model's output it is a line of `predictions/<stage>/<dataset>.jsonl`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from umed.records import SYNTHETIC, Record

DATASETS = ("mau", "vqa_rad", "slake", "pmc_vqa", "medmnist_derma", "medmnist_breast", "medmnist_pneumonia")
ANSWER_TYPES = ("open", "closed", "choice", "blank", "label", "diagnosis")


@dataclass(frozen=True, slots=True)
class Question:
    """One item of a benchmark.

    Args:
        id: unique in its data set.
        dataset: one of `DATASETS`, after `phantom_` where it is a synthetic stand-in.
        split_file: the file it stands in, as released.
        question: as in the file.
        answer: the gold answer as text, as in the file: the letter of a `choice` item, the text of a `blank` one.
        answer_type: one of `ANSWER_TYPES`.
        image: the picture, relative to the benchmark's root; items of one picture share it.
        choices: the four strings of `choice` and `blank` items as in the file, the label names of `label` items.
        extra: what else the file says of it: `language`, `content_type`, `caption` ...
    """

    id: str
    dataset: str
    split_file: str
    question: str
    answer: str
    answer_type: str
    image: str
    choices: tuple[str, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def line(self, output: str, scores: Mapping[str, float] | None = None) -> dict[str, Any]:
        """The prediction line of an answer; `scores` maps labels to probabilities.

        Beyond the common fields `closed_by`, where open and closed have two meanings.
        """
        meaning = {"closed_by": self.extra["closed_by"]} if "closed_by" in self.extra else {}
        return {
            "id": self.id,
            "dataset": self.dataset,
            "split_file": self.split_file,
            "question": self.question,
            "answer": self.answer,
            "answer_type": self.answer_type,
            "choices": None if self.choices is None else list(self.choices),
            "output": output,
            "boxes": None,
            "scores": None if scores is None else dict(scores),
            "image": self.image,
            **meaning,
        }

    def asked(self, query: str, width: int, height: int) -> Record:
        """The question as a record without boxes, for a model's processor."""
        return Record(self.id, self.dataset, self.image, width, height, (), "", "", self.image, query=query)


def split_of(line: Mapping[str, Any]) -> str:
    """What a prediction line says of its split: the file and, where it has one, its meaning of "closed"."""
    told = line["split_file"] or "not told"
    return f"{told}, closed by {line['closed_by']}" if line.get("closed_by") else told


def is_synthetic(line: Mapping[str, Any]) -> bool:
    """Whether a program drew the picture of a prediction line."""
    return line["dataset"].startswith(SYNTHETIC) or str(line.get("source", "")).startswith(SYNTHETIC)


def kind(dataset: str) -> str:
    """The data set whose rules apply: a stand-in has those of the data set that it stands for."""
    return dataset.removeprefix(SYNTHETIC)
