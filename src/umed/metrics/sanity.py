"""Answers without looking, as prediction lines: what a score must beat to mean anything.

Such a row is scored by the very rules of the real answers. The rows `black` and `shuffled` ask the model again.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from umed.metrics.choice import LETTERS, gold_index
from umed.metrics.labels import LABELS, gold_label
from umed.metrics.normalize import norm
from umed.questions import Question, kind

Line = dict[str, Any]


def majority(lines: Sequence[Line]) -> list[Line]:
    """The most frequent gold answer of the same data set, answer type and, for MAU, source, to every item.

    It is taken from the test's own gold answers: the best that a constant answer can do.
    """
    golds: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for line in lines:
        golds[_part(line)][_gold(line)] += 1
    most = {part: of.most_common(1)[0][0] for part, of in golds.items()}
    return [_said(line, most[_part(line)]) for line in lines]


def question_prior(lines: Sequence[Line], train: Sequence[Question]) -> list[Line]:
    """The most frequent answer that the data set's training part gives to the same question, whatever the picture.

    Questions are the same after `norm`, of the same answer type. Where a question is new, the most frequent answer of
    its answer type.
    """
    same: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    alike: dict[str, Counter[str]] = defaultdict(Counter)
    for question in train:
        same[question.answer_type, norm(question.question)][question.answer] += 1
        alike[question.answer_type][question.answer] += 1
    said = []
    for line in lines:
        known = same.get((line["answer_type"], norm(line["question"]))) or alike.get(line["answer_type"])
        said.append(_said(line, known.most_common(1)[0][0] if known else ""))
    return said


def _part(line: Line) -> tuple[str, str, str]:
    return line["dataset"], line["answer_type"], line.get("source", "")


def _gold(line: Line) -> str:
    """The gold answer as a model would say it; a file may have its index, letter or text."""
    if line["answer_type"] == "diagnosis":
        return line["category"]
    if line["answer_type"] == "label":
        names = LABELS[kind(line["dataset"])]
        return names[gold_label(line["answer"], names)]
    gold = str(line["answer"]).strip()
    if line["answer_type"] == "choice":
        index = gold_index(gold, line["choices"])
        assert index is not None, line["id"]  # lines are checked
        return LETTERS[index]
    return gold


def _said(line: Line, output: str) -> Line:
    """The line with another output, and no boxes; a score of 1 for the label or letter that is said."""
    names = LABELS[kind(line["dataset"])] if line["answer_type"] == "label" else tuple(line["scores"] or ())
    return {
        **line,
        "output": output,
        "boxes": None,
        "scores": {name: float(name == output) for name in names} if output in names else None,
    }
