"""SLAKE: test.json, train.json and imgs/ as released (BoKelvin/SLAKE), or a hub form with pictures."""

from pathlib import Path

from umed.errors import InputError, check_choice
from umed.evaluation.benchmarks.base import placed
from umed.evaluation.benchmarks.short_answers import Rows, ShortAnswers, json_rows
from umed.evaluation.question import Question

FILES = {"test": ("test.json",), "validation": ("validation.json", "validate.json"), "train": ("train.json",)}


class Slake(ShortAnswers):
    """Questions about CT, MR and X-ray pictures, in English and Chinese; see `ShortAnswers`.

    Args:
        language: `en`, `zh` or `both`, of the test questions. Training questions are of both: most English test
            pictures are in the Chinese training part.
        split: `test` or `validation`.
    """

    name = "slake"
    kept = ("q_lang", "content_type", "base_type", "location", "modality")

    def __init__(
        self,
        root: str | None = None,
        hub: str | None = None,
        language: str = "en",
        split: str = "test",
        closed_by: str = "answer_type",
        dataset: str = "slake",
    ) -> None:
        self.language = check_choice("data.benchmark.slake.language", language, "en", "zh", "both")
        self.split = check_choice("data.benchmark.slake.split", split, "test", "validation")
        super().__init__(root, hub, closed_by, dataset)

    def questions(self) -> list[Question]:
        found = super().questions()
        own = [q for q in found if self.language in (str(q.extra.get("q_lang", "en")).strip().lower(), "both")]
        if not own:
            raise InputError(
                f"{self.splits[self.dataset].origin}: no question in data.benchmark.slake.language={self.language}"
            )
        return own

    def local(self, root: Path, part: str) -> tuple[Path, str, Rows, list[str | None]] | None:
        """The rows of `<part>.json`; `validation.json` has an older name too."""
        names = FILES[self.split if part == "test" else part]
        path = next((root / name for name in names if (root / name).is_file()), root / names[0])
        if part == "train" and not path.is_file():
            return None
        sha256, rows = json_rows(path, "the questions of SLAKE")
        return path, sha256, rows, [placed("imgs", row.get("img_name")) for row in rows]
