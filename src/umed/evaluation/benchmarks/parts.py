"""A benchmark with a test and a training part, from files as released or from a hub; each part is read once."""

from abc import abstractmethod
from functools import cache
from pathlib import Path

from PIL import Image

from umed.errors import InputError
from umed.evaluation.benchmarks.base import Benchmark, Split, one_of, picture_in, unique
from umed.evaluation.benchmarks.hub import HubRows, hub_rows, hub_splits
from umed.evaluation.question import Question

Part = tuple[Split, list[Question]]


class TwoParts(Benchmark):
    """What the loaders of questions share.

    Args:
        root: folder with the files as released.
        hub: a `datasets` id instead, one that holds the pictures.
        dataset: name in predictions.
    """

    name: str  # in the config

    def __init__(self, root: str | None, hub: str | None, dataset: str) -> None:
        one_of(self.name, root, hub)
        self.root, self.hub, self.dataset = Path(str(root)) if root else None, hub, dataset
        self.part = cache(self._part)

    @abstractmethod
    def released(self, root: Path, part: str) -> Part | None:
        """The `test` or `train` part of the files in `root`; None = no such file, of `train` only."""

    @abstractmethod
    def of_hub(self, rows: HubRows, split: str, origin: str) -> list[Question]:
        """The questions of a hub's split."""

    @property
    def splits(self) -> dict[str, Split]:  # type: ignore[override]
        return {self.dataset: self.test[0]}

    @property
    def test(self) -> Part:
        found = self.part("test")
        if found is None:
            raise InputError(f"data.benchmark.{self.name}.hub={self.hub}: it has no split test: give another id")
        return found

    def questions(self) -> list[Question]:
        split, questions = self.test
        return unique(questions, split.origin)

    def train(self) -> list[Question]:
        found = self.part("train")
        return found[1] if found else []

    def picture(self, question: Question) -> Image.Image:
        if self.root is not None:
            return picture_in(self.root, question.image or "", self.dataset)
        parts = [rows for name in ("test", "train") if (rows := self._rows(name)) and question.image in rows.row_of]
        return parts[0].picture(question.image or "")

    def _rows(self, part: str) -> HubRows | None:
        assert self.hub is not None
        return hub_rows(self.name, self.hub, part) if part in hub_splits(self.name, self.hub) else None

    def _part(self, part: str) -> Part | None:
        if self.root is not None:
            return self.released(self.root, part)
        rows, origin = self._rows(part), f"{self.hub}, {part}"
        return None if rows is None else (Split(part, rows.sha256, origin), self.of_hub(rows, part, origin))
