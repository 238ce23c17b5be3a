"""PMC-VQA: questions about figures of papers, with four choices; as choices and as blanks."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from umed.errors import InputError, check_choice
from umed.evaluation.benchmarks.base import Split, placed, plain_name, read_file, table, tell_lost
from umed.evaluation.benchmarks.hub import HubRows
from umed.evaluation.benchmarks.parts import Part, TwoParts
from umed.evaluation.prediction import Prediction, short
from umed.evaluation.question import Question
from umed.evaluation.rules import choice
from umed.evaluation.rules.choice import LETTERS, gold_index, without_prefix
from umed.evaluation.score import Score
from umed.evaluation.scorer import DEFAULTS, Column, Options, Scorer, Verdict

FOLDERS = {1: ("images", "figures", "images_2", "."), 2: ("figures", "images_2", "images", ".")}  # by version
TRAIN = {"test_2.csv": "train_2.csv"}  # of version 2; of all others train.csv
CHOICES = tuple(f"choice {letter.lower()}" for letter in LETTERS)


class ChoiceScorer(Scorer):
    """Rules of questions with four choices, asked for a letter (`choice`) or for the text (`blank`)."""

    answer_types = ("choice", "blank")
    rules = ("choice_letter", "choice_nearest", "choice_likelihood", "blank_exact", "blank_nearest")
    columns = (
        Column("choice", "PMC-VQA choice", "choice_nearest", "choice_letter"),
        Column("blank", "PMC-VQA blank", "blank_nearest", "blank_exact"),
    )

    def check(self, prediction: Prediction) -> None:
        question, scores = prediction.question, prediction.scores
        if question.choices is None or len(question.choices) != 4:
            raise ValueError(f"choices is {short(question.choices)}: the four strings of the item are expected")
        if question.answer_type == "choice" and gold_index(question.gold, question.choices) is None:
            raise ValueError(f"answer {short(question.answer)} is neither a letter A-D nor one of the choices")
        if scores is not None and set(scores) != set(LETTERS):
            raise ValueError(f"scores are of {short(list(scores))}: those of A, B, C, D are expected")

    def judge(self, predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Verdict]:
        return [self._judge(prediction) for prediction in predictions]

    def _judge(self, prediction: Prediction) -> Verdict:
        output, choices = prediction.final_answer, prediction.question.choices or ()
        verdict: dict[str, bool | float | None] = dict.fromkeys(self.rules)
        if prediction.question.answer_type == "choice":
            gold = gold_index(prediction.question.gold, choices)
            assert gold is not None, prediction.question.id  # see `check`
            verdict["choice_letter"] = choice.choice_letter(output, gold, choices)
            verdict["choice_nearest"] = choice.choice_nearest(output, gold, choices)
            if prediction.scores:
                verdict["choice_likelihood"] = choice.choice_likelihood(prediction.scores, gold)
        else:
            text = self.gold_output(prediction.question)
            verdict["blank_exact"] = choice.blank_exact(output, text)
            verdict["blank_nearest"] = choice.blank_nearest(output, text, choices)
        return verdict

    def summarize(self, predictions: Sequence[Prediction], verdicts: Sequence[Verdict]) -> list[Score]:
        """`unreadable`: the share of answers to `choice` items from which no letter can be read."""
        asked = [p for p in predictions if p.question.answer_type == "choice"]
        lost = sum(choice.read_letter(p.final_answer, p.question.choices or ()) is None for p in asked)
        dataset = predictions[0].question.dataset
        return [Score(dataset, "unreadable", lost / len(asked), n=len(asked))] if asked else []

    def chance(self, answer_types: Iterable[str]) -> dict[str, float]:
        of_type = {"choice": self.rules[:3], "blank": ("blank_nearest",)}
        return {rule: 0.25 for answer_type in answer_types for rule in of_type[answer_type]}

    def gold_output(self, question: Question) -> str:
        """The letter of a `choice` item, the text of a `blank` one; a file may have its index, letter or text."""
        is_letter = question.answer_type == "choice"
        choices = question.choices or ()
        gold = gold_index(question.gold, choices, letter_first=is_letter)
        if gold is None:
            return choice.plain(question.gold)
        return LETTERS[gold] if is_letter else without_prefix(choices)[gold]

    def labels(self, question: Question) -> tuple[str, ...]:
        return tuple(LETTERS) if question.answer_type == "choice" else ()

    def note(self, dataset: str, predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        shares = [s.value for s in scores if s.key == (dataset, "unreadable", "", "") and s.value]
        return [
            f"{dataset}: no letter could be read from {share:.1%} of the answers; they count as wrong"
            for share in shares
        ]


class PmcVqa(TwoParts):
    """Each row is a `choice` item (its gold a letter) and a `blank` item (its gold the text of that choice).

    Args:
        root, hub, dataset: see `TwoParts`; `images/` (version 1) or `figures/` (version 2) lie beside the CSV files.
        split_file: `test_clean.csv` (2,000, checked by hand: the paper's "PMC-VQA-test"), `test.csv` (50,000) or
            `test_2.csv` (version 2).
        modes: `choice`, `blank` or both.
    """

    name = "pmc_vqa"
    scorers: Mapping[str, Scorer] = {"pmc_vqa": ChoiceScorer()}

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
            for mode in self.modes:
                questions.append(
                    Question(
                        id=f"{stem}/{number}/{mode}",
                        dataset=self.dataset,
                        split_file=split,
                        question=row["question"],
                        answer=LETTERS[gold] if mode == "choice" else without_prefix(choices)[gold],
                        answer_type=mode,
                        image=image,
                        choices=choices,
                        extra={name: row[name] for name in ("index", "caption") if name in row},
                    )
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
