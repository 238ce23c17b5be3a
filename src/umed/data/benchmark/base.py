"""A benchmark: files on disk, or a hub id, in; questions and their pictures out."""

from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from umed.questions import Question


@dataclass(frozen=True, slots=True)
class Split:
    """What was read: the split file as released, its SHA-256 (of the rows, where a hub gave them), and where from."""

    file: str
    sha256: str
    origin: str


class Benchmark(Protocol):
    """One benchmark, or several that one file format holds (MedMNIST)."""

    @property
    def splits(self) -> dict[str, Split]:
        """Data set -> the split that its questions come from."""

    def questions(self) -> list[Question]:
        """Every item of the test split, in file order.

        Raises:
            InputError: no such files, not in the format as released, or a checksum that is not the published one.
        """

    def train(self) -> list[Question]:
        """The items of the data set's own training part; empty where that is not at hand.

        They give the question-only prior and say which test pictures a model may have been trained on.
        """

    def picture(self, question: Question) -> Image.Image:
        """The picture of a question of either part, RGB.

        Raises:
            InputError: it is missing or unreadable.
        """
