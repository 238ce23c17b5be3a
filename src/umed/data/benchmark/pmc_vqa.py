"""PMC-VQA: questions about figures of papers, with four choices; as choices and as blanks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from umed.data.benchmark.base import Split, plain_name, read_file, table, tell_lost
from umed.data.benchmark.examples.pmc_vqa import write_example
from umed.data.benchmark.hub import HubRows
from umed.data.benchmark.parts import Part, TwoParts
from umed.errors import InputError, chosen
from umed.metrics.choice import LETTERS, gold_index, without_prefix
from umed.questions import Question

FOLDERS = ("images", "figures", "images_2", ".")
TRAIN = {"test_2.csv": "train_2.csv"}  # of version 2; of all others train.csv
CHOICES = tuple(f"choice {letter.lower()}" for letter in LETTERS)


class PmcVqa(TwoParts):
    """Each row is a `choice` item (its gold a letter) and a `blank` item (its gold the text of that choice).

    Args:
        root, hub, dataset: see `TwoParts`; `images/` (version 1) or `figures/` (version 2) lie beside the CSV files.
        split_file: `test_clean.csv` (2,000, checked by hand: the paper's "PMC-VQA-test"), `test.csv` (50,000) or
            `test_2.csv` (version 2).
        modes: `choice`, `blank` or both.
    """

    example = staticmethod(write_example)
    name = "pmc_vqa"

    def __init__(
        self,
        root: str | None = None,
        hub: str | None = None,
        split_file: str = "test_clean.csv",
        modes: Iterable[str] = ("choice", "blank"),
        dataset: str = "pmc_vqa",
    ) -> None:
        super().__init__(root, hub, dataset)
        self.modes = [chosen("data.benchmark.pmc_vqa.modes", mode, "choice", "blank") for mode in modes]
        if not self.modes or Path(split_file).name != split_file:
            raise InputError(f"data.benchmark.pmc_vqa: modes={self.modes}, split_file={split_file}: name both, no path")
        self.split_file = split_file

    def released(self, root: Path, part: str) -> Part | None:
        path = root / (self.split_file if part == "test" else TRAIN.get(self.split_file, "train.csv"))
        if part == "train" and not path.is_file():
            return None
        text, sha256 = read_file(path, "a table of PMC-VQA")
        folder = next(name for name in FOLDERS if (root / name).is_dir())
        placed = [(n, row, f"{folder}/{row.get('figure path')}") for n, row in enumerate(table(path, text), 1)]
        needed = ("figure path", "question", "answer", *CHOICES)
        if lost := [column for column in needed if placed and column not in placed[0][1]]:
            raise InputError(f"{path}: no column {lost[0]}: take the file as released")
        return Split(path.name, sha256, str(path)), self._of(placed, path.name, str(path))

    def of_hub(self, rows: HubRows, split: str, origin: str) -> list[Question]:
        named = [{plain_name(k): str(v) for k, v in row.items()} for row in rows.rows]
        placed = [(n, row, image) for n, (row, image) in enumerate(zip(named, rows.images, strict=True), 1)]
        return self._of(placed, split, origin)

    def _of(self, placed: list[tuple[int, dict[str, str], str]], split: str, origin: str) -> list[Question]:
        questions: list[Question] = []
        lost: list[str] = []
        stem = Path(split).stem
        for number, row, image in placed:
            gold = _gold(row)
            if gold is None or not row.get("question", "").strip():
                lost.append(f"row {number} has no question, or an answer that is none of its choices")
                continue
            choices = tuple(row[column] for column in CHOICES)
            extra: dict[str, str] = {name: row[name] for name in ("index", "caption") if name in row}
            for mode in self.modes:
                answer = LETTERS[gold] if mode == "choice" else without_prefix(choices)[gold]
                name = f"{stem}/{number}/{mode}"
                questions.append(
                    Question(name, self.dataset, split, row["question"], answer, mode, image, choices, extra)
                )
        tell_lost(origin, lost, len(placed))
        return questions


def _gold(row: Mapping[str, Any]) -> int | None:
    """The position of the gold choice: by `Answer_label`, else by the letter or the text in `Answer`."""
    if any(row.get(column) is None for column in CHOICES):
        return None
    label = str(row.get("answer label") or "").strip()
    if label:
        return LETTERS.find(label.upper()) if label.upper() in tuple(LETTERS) else None
    return gold_index(str(row.get("answer", "")), [row[column] for column in CHOICES])
