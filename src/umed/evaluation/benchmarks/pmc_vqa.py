"""PMC-VQA: questions about figures of papers, with four choices; as choices and as blanks."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from umed.errors import InputError, check_choice
from umed.evaluation.benchmarks.base import Split, placed, plain_name, read_file, table, tell_lost
from umed.evaluation.benchmarks.hub import HubRows
from umed.evaluation.benchmarks.parts import Part, TwoParts
from umed.evaluation.question import Question
from umed.evaluation.rules.choice import LETTERS, gold_index, without_prefix

FOLDERS = {1: ("images", "figures", "images_2", "."), 2: ("figures", "images_2", "images", ".")}  # by version
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
        self.modes = [check_choice("data.benchmark.pmc_vqa.modes", mode, "choice", "blank") for mode in modes]
        if not self.modes or Path(split_file).name != split_file:
            raise InputError(f"data.benchmark.pmc_vqa: modes={self.modes}, split_file={split_file}: name both, no path")
        self.split_file = split_file

    def released(self, root: Path, part: str) -> Part | None:
        path = root / (self.split_file if part == "test" else TRAIN.get(self.split_file, "train.csv"))
        if part == "train" and not path.is_file():
            return None
        text, sha256 = read_file(path, "a table of PMC-VQA")
        rows = list(table(path, text, ("figure path", "question", "answer", *CHOICES)))
        folders = [name for name in FOLDERS[2 if rows and "split" in rows[0] else 1] if (root / name).is_dir()]
        found = [(n, row, _picture(root, folders, row.get("figure path"))) for n, row in enumerate(rows, 1)]
        return Split(path.name, sha256, str(path)), self._of(found, path.name, str(path))

    def of_hub(self, rows: HubRows, split: str, origin: str) -> list[Question]:
        named = [{plain_name(k): str(v) for k, v in row.items() if v is not None} for row in rows.rows]
        found = [(n, row, image) for n, (row, image) in enumerate(zip(named, rows.images, strict=True), 1)]
        return self._of(found, split, origin)

    def _of(self, found: Sequence[tuple[int, dict[str, str], str | None]], split: str, origin: str) -> list[Question]:
        questions: list[Question] = []
        lost: list[str] = []
        stem = Path(split).stem
        for number, row, image in found:
            gold = _gold(row)
            if gold is None or image is None or not row.get("question", "").strip():
                what = "picture" if image is None else "question, or an answer that is none of its choices"
                lost.append(f"row {number} has no {what}")
                continue
            choices = tuple(row[column] for column in CHOICES)
            extra: dict[str, str] = {name: row[name] for name in ("index", "caption") if name in row}
            for mode in self.modes:
                answer = LETTERS[gold] if mode == "choice" else without_prefix(choices)[gold]
                name = f"{stem}/{number}/{mode}"
                questions.append(
                    Question(name, self.dataset, split, row["question"], answer, mode, image, choices, extra)
                )
        tell_lost(origin, lost, len(found))
        return questions


def _picture(root: Path, folders: Sequence[str], name: str | None) -> str | None:
    """Of the folders that are there the first that has it; where none has, the first: its message names that one."""
    paths = [path for folder in folders if (path := placed(folder, name))]
    return next((path for path in paths if len(paths) == 1 or _is_there(root / path)), paths[0] if paths else None)


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _gold(row: Mapping[str, Any]) -> int | None:
    """The position of the gold choice: by `Answer_label`, else by the letter or the text in `Answer`."""
    if any(row.get(column) is None for column in CHOICES):
        return None
    label = str(row.get("answer label") or "").strip()
    if label:
        return LETTERS.find(label.upper()) if label.upper() in tuple(LETTERS) else None
    return gold_index(str(row.get("answer", "")), [row[column] for column in CHOICES])
