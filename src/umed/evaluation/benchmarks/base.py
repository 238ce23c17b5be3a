"""A benchmark: files on disk, or a hub id, in; questions and their pictures out."""

import csv
import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from umed.data.files import Unusable, check_inside, decode_text
from umed.errors import InputError
from umed.evaluation.question import Question
from umed.evaluation.scorer import Scorer
from umed.pictures import open_picture


@dataclass(frozen=True, slots=True)
class Split:
    """What was read: the split file as released, its SHA-256 (of the rows, where a hub gave them), and where from."""

    file: str
    sha256: str
    origin: str


@dataclass(frozen=True, slots=True)
class Example:
    """What reading a written example must give.

    Args:
        items: id of a test item -> its answer type and gold answer.
        train: number of training items.
        options: how the loader is called besides `root`.
        lost: rows that make no question.
    """

    items: dict[str, tuple[str, str]]
    train: int = 0
    options: tuple[tuple[str, object], ...] = ()
    lost: int = 0


class Benchmark(ABC):
    """One benchmark, or several data sets that one file format holds (MedMNIST), and all that depends on it.

    Attributes:
        scorers: data set -> its rules, answer types, chance level and columns; for files of predictions they are
            looked up on the class, without any file of the benchmark at hand.
        splits: data set -> the split that its questions come from.
    """

    scorers: Mapping[str, Scorer]
    splits: Mapping[str, Split]

    @abstractmethod
    def questions(self) -> list[Question]:
        """Every item of the test split, in file order, each id once.

        Raises:
            InputError: no such files, not in the format as released, or a checksum that is not the published one.
        """

    @abstractmethod
    def picture(self, question: Question) -> Image.Image:
        """The picture of a question of either part, RGB.

        Raises:
            InputError: it is missing or unreadable.
        """

    def train(self) -> list[Question]:
        """The items of the data set's own training part; empty where that is not at hand.

        They give the question-only baseline and say which test pictures a model may have been trained on.
        """
        return []

    def controls(self) -> list[Question]:
        """Pictures known to be normal, asked as the others are; none in most benchmarks."""
        return []


def check_benchmark(name: str, benchmark: Any) -> Benchmark:
    """Refuse an object, or its class, that lacks what a benchmark needs, naming what is missing.

    A class of a user's own need not derive from `Benchmark`.

    Raises:
        InputError: before any of its files is read.
    """
    wanted = ("scorers", "splits", "questions", "picture", "train", "controls")
    # on the class: asking the object for its splits would read files
    kind = benchmark if isinstance(benchmark, type) else type(benchmark)
    if missing := [part for part in wanted if not hasattr(kind, part)]:
        raise InputError(
            f"data.benchmark.{name}: {kind.__name__} has no {', '.join(missing)}: derive it from "
            "umed.evaluation.benchmarks.base.Benchmark and give it what is missing"
        )
    return benchmark


def one_of(name: str, root: str | None, hub: str | None) -> None:
    """Refuse a benchmark without a place, or with two."""
    if (root is None) == (hub is None):
        both = "both are" if root is not None else "neither is"
        raise InputError(
            f"data.benchmark.{name}: {both} set of root and hub: give root=FOLDER with the files as released, or hub=ID"
        )


def read_file(path: Path, wanted: str) -> tuple[str, str]:
    """The text of a file, see `as_text`, and the SHA-256 of its bytes.

    Raises:
        InputError: no file, unreadable or empty.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"no file {path}: {wanted} is expected there") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): {wanted} is expected there") from None
    text = decode_text(content)
    if not text.strip():
        raise InputError(f"{path}: empty: {wanted} is expected")
    return text, hashlib.sha256(content).hexdigest()


def table(path: Path, text: str, needed: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV text as column -> cell; cells as they are, spaces included; a short row lacks its last ones.

    Columns are in lower case, their underscores spaces; the misspelt `Anwser` of an early revision is `answer`.

    Raises:
        InputError: no CSV, or one of the columns `needed` is not in its header.
    """
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)  # else a lost quote would swallow the rest
    header: list[str] = []
    try:
        for cells in rows:
            if not header:
                header = [plain_name(cell) for cell in cells]
                if lost := [column for column in needed if column not in header]:
                    raise InputError(f"{path}: no column {lost[0]}: take the file as released")
            elif any(cell.strip() for cell in cells):
                yield dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise InputError(f"{path}:{rows.line_num + 1}: not CSV ({error}): take the file as released") from None


def plain_name(column: str) -> str:
    """A column's name in lower case with spaces; `anwser` is `answer`."""
    name = column.strip().lower().replace("_", " ")
    return "answer" if name == "anwser" else name


def picture_in(root: Path, image: str, dataset: str) -> Image.Image:
    """The picture of a path relative to the root, RGB.

    Raises:
        InputError: it leads out of the root, is missing or unreadable.
    """
    try:
        check_inside(root, image)
    except Unusable as error:
        raise InputError(f"{dataset}: {error}") from None
    return open_picture(root / image)


def unique(questions: Sequence[Question], origin: str) -> list[Question]:
    """The questions, if there are any and no id occurs twice.

    Raises:
        InputError: there is none, or one occurs twice.
    """
    if not questions:
        raise InputError(f"{origin}: not one question in it: take the file as released")
    seen: set[tuple[str, str]] = set()
    for question in questions:
        if (question.dataset, question.id) in seen:
            raise InputError(f"{origin}: item {question.id} occurs twice: take the file as released")
        seen.add((question.dataset, question.id))
    return list(questions)


def placed(folder: str, name: object) -> str | None:
    """A picture's path below the root from what a file says of it; None where it says nothing."""
    return str(PurePosixPath(folder) / name) if isinstance(name, str) and name.strip() else None


def tell_lost(origin: str, lost: Sequence[str], count: int) -> None:
    """Say in one line how many rows make no question, and why the first does not.

    Raises:
        InputError: not one row does.
    """
    if lost and len(lost) == count:
        raise InputError(
            f"{origin}: not one of its {count} rows makes a question, {lost[0]}: take the file as released"
        )
    if lost:
        print(f"{origin}: {len(lost)} of {count} rows make no question and are left out, the first: {lost[0]}")


def as_gold(value: Any) -> str:
    """A gold answer as text: some are numbers, some have stray spaces."""
    return str(value).strip()
