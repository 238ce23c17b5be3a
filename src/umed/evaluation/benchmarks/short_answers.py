"""What VQA-RAD and SLAKE share: JSON rows with a short answer each, open or closed, or the same rows from a hub."""

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from umed.errors import InputError, check_choice
from umed.evaluation.benchmarks.base import Split, as_gold, read_file, tell_lost
from umed.evaluation.benchmarks.hub import HubRows
from umed.evaluation.benchmarks.parts import Part, TwoParts
from umed.evaluation.question import Question

Rows = list[dict[str, Any]]


class ShortAnswers(TwoParts):
    """A benchmark of open and closed questions.

    Args:
        root, hub, dataset: see `TwoParts`.
        closed_by: `answer_type`, the release's own word, or `yes_no`: closed are the answers yes and no. Where a row
            has no answer_type it is yes_no; `extra["closed_by"]` says which.
    """

    kept: tuple[str, ...]  # columns that go along in `extra`

    def __init__(self, root: str | None, hub: str | None, closed_by: str, dataset: str) -> None:
        super().__init__(root, hub, dataset)
        self.closed_by = check_choice(f"data.benchmark.{self.name}.closed_by", closed_by, "answer_type", "yes_no")

    @abstractmethod
    def local(self, root: Path, part: str) -> tuple[Path, str, Rows, list[str | None]] | None:
        """File, its SHA-256, rows and pictures (relative to the root; None where a row names none) of `test` or
        `train`; None = no such file.
        """

    def released(self, root: Path, part: str) -> Part | None:
        found = self.local(root, part)
        if found is None:
            return None
        path, sha256, rows, images = found
        return Split(path.name, sha256, str(path)), self._of(rows, images, path.name, str(path))

    def of_hub(self, rows: HubRows, split: str, origin: str) -> list[Question]:
        return self._of(rows.rows, rows.images, split, origin)

    def _of(self, rows: Rows, images: Sequence[str | None], split: str, origin: str) -> list[Question]:
        questions, lost = [], []
        for number, (row, image) in enumerate(zip(rows, images, strict=True)):
            text, qid = row.get("question"), str(number if row.get("qid") is None else row["qid"]).strip()
            asked = isinstance(text, str) and bool(text.strip())
            if not isinstance(text, str) or not asked or "answer" not in row or image is None:
                what = "question" if not asked else "picture" if image is None else "answer"
                lost.append(f"qid {qid} has no {what}")
                continue
            answer, said = as_gold(row["answer"]), as_gold(row.get("answer_type") or "").lower()
            by = self.closed_by if said in ("open", "closed") else "yes_no"
            kind = said if by == "answer_type" else ("closed" if answer.lower() in ("yes", "no") else "open")
            extra = {name: row[name] for name in self.kept if name in row} | {"closed_by": by}
            questions.append(Question(qid, self.dataset, split, text, answer, kind, image, None, extra))
        tell_lost(origin, lost, len(rows))
        return questions


def json_rows(path: Path, wanted: str) -> tuple[str, Rows]:
    """The SHA-256 of a JSON file and the objects that it lists.

    Raises:
        InputError: no such file, or no list of objects.
    """
    text, sha256 = read_file(path, wanted)
    try:
        rows = json.loads(text)
        json.dumps(rows, ensure_ascii=False).encode()  # an escape can name half of a character
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}): take the file as released") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: a list of questions is expected: take the file as released")
    return sha256, rows
