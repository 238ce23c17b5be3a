"""What VQA-RAD and SLAKE share: JSON rows with a short answer each, open or closed, or the same rows from a hub."""

import json
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from umed.errors import InputError, check_choice
from umed.evaluation.benchmarks.base import Split, as_gold, read_file, tell_lost
from umed.evaluation.benchmarks.hub import HubRows
from umed.evaluation.benchmarks.parts import Part, TwoParts
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import Question
from umed.evaluation.rules import short_answers as rules
from umed.evaluation.rules.compat import VARIANTS
from umed.evaluation.rules.nearest import are_nearest
from umed.evaluation.score import CANDIDATES, Score
from umed.evaluation.scorer import DEFAULTS, JUDGED, Column, Options, Scorer, Verdict
from umed.judges.base import JudgeItem

Rows = list[dict[str, Any]]
Rule = Callable[[str, str], bool | float]
OPEN: dict[str, Rule] = {
    "open_exact": rules.open_exact,
    "open_recall": rules.open_recall,
    "open_recall75": rules.open_recall75,
}
CLOSED: dict[str, Rule] = {"closed_exact": rules.closed_exact, "closed_contains": rules.closed_contains}


class ShortAnswerScorer(Scorer):
    """Rules of open and closed questions with a short answer.

    Args:
        title: of the data set in the paper's table.
    """

    answer_types = ("open", "closed")
    rules = (*OPEN, "open_nearest", *CLOSED)

    def __init__(self, title: str) -> None:
        self.columns = (
            Column("open", f"{title} open", "open_nearest", "open_exact", JUDGED),
            Column("closed", f"{title} closed", "closed_contains", "closed_exact"),
        )

    def judge(self, predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Verdict]:
        verdicts: list[Verdict] = []
        pending: list[tuple[dict[str, bool | float | None], JudgeItem]] = []
        for prediction, nearest in zip(predictions, judge_nearest(predictions), strict=True):
            output, question = prediction.final_answer, prediction.question
            gold, answer_type = question.gold, question.answer_type
            verdict: dict[str, bool | float | None] = dict.fromkeys(self.rules)
            for name, rule in (OPEN if answer_type == "open" else CLOSED).items():
                verdict[name] = rule(output, gold)
            verdict["open_nearest"] = nearest
            for name in options.compat:
                variant = VARIANTS[name]
                verdict[name] = variant.rule(output, gold) if variant.answer_type == answer_type else None
            if options.open_judge:
                verdict[JUDGED] = False if answer_type == "open" else None
                if answer_type == "open" and output.strip():
                    pending.append((verdict, JudgeItem(prediction.question.question, gold, output, category=gold)))
            verdicts.append(verdict)
        if options.open_judge:
            results = options.open_judge([item for _, item in pending])
            for (verdict, _), result in zip(pending, results, strict=True):
                verdict[JUDGED] = None if result.score is None else result.score == 1
        return verdicts

    def summarize(self, predictions: Sequence[Prediction], verdicts: Sequence[Verdict]) -> list[Score]:
        """The number of gold answers that `open_nearest` chooses from."""
        count = len(open_candidates(predictions))
        dataset = predictions[0].question.dataset
        return [Score(dataset, "open_nearest", count, row=CANDIDATES)] if count else []

    def note(self, dataset: str, predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        count = len(open_candidates(predictions))
        if not count:
            return []
        return [f"{dataset}: open_nearest chooses from the {count} gold answers here, or from an item's own choices"]


def open_candidates(predictions: Sequence[Prediction]) -> tuple[str, ...]:
    """The distinct gold answers of the open items, in file order."""
    return tuple(dict.fromkeys(p.question.gold for p in predictions if p.question.answer_type == "open"))


def judge_nearest(predictions: Sequence[Prediction]) -> list[bool | None]:
    """`open_nearest`: whether the candidate nearest to the output is the gold text; raw texts, see `rules.nearest`.

    Candidates are the item's `choices`, else the distinct gold answers of the open items in file order: a closed list
    taken from the test labels, as MedVInT's authors do.
    """
    places: dict[tuple[str, ...] | None, list[int]] = defaultdict(list)
    for place, prediction in enumerate(predictions):
        if prediction.question.answer_type == "open":
            places[prediction.question.choices].append(place)
    verdicts: list[bool | None] = [None] * len(predictions)
    for choices, of_choices in places.items():
        chosen = [predictions[k] for k in of_choices]
        candidates = open_candidates(predictions) if choices is None else choices
        right = are_nearest([p.final_answer for p in chosen], [p.question.gold for p in chosen], candidates)
        for k, is_nearest in zip(of_choices, right, strict=True):
            verdicts[k] = is_nearest
    return verdicts


class ShortAnswers(TwoParts):
    """A benchmark of open and closed questions.

    Args:
        root, hub, dataset: see `TwoParts`.
        closed_by: `answer_type`, the release's own word, or `yes_no`: closed are the answers yes and no. Where a row
            has no answer_type it is yes_no; `Question.closed_by` says which.
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
            answer, stated_type = as_gold(row["answer"]), as_gold(row.get("answer_type") or "").lower()
            by = self.closed_by if stated_type in ("open", "closed") else "yes_no"
            kind = stated_type if by == "answer_type" else ("closed" if answer.lower() in ("yes", "no") else "open")
            questions.append(
                Question(
                    id=qid,
                    dataset=self.dataset,
                    split_file=split,
                    question=text,
                    answer=answer,
                    answer_type=kind,
                    image=image,
                    closed_by=by,
                    extra={name: row[name] for name in self.kept if name in row},
                )
            )
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
