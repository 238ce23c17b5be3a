"""Answers without looking, as prediction lines: what a score must beat to mean anything.

Such a row is scored by the very rules of the real answers. The rows `black` and `shuffled` ask the model again.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from umed.evaluation.question import Question, kind
from umed.evaluation.rules.choice import LETTERS, gold_index, plain, without_prefix
from umed.evaluation.rules.labels import LABELS, gold_label
from umed.evaluation.rules.normalize import norm

Line = dict[str, Any]


def majority(lines: Sequence[Line]) -> list[Line]:
    """The most frequent gold answer of the same data set, answer type and, for MAU, source, to every item.

    It is taken from the test's own gold answers: the best that a constant answer can do by the strict rules.
    """
    golds: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for line in lines:
        golds[_part(line)].append(_gold(line))
    most = {part: _most_frequent(of) for part, of in golds.items()}
    return [_said(line, most[_part(line)]) for line in lines]


def question_prior(lines: Sequence[Line], train: Sequence[Question]) -> list[Line]:
    """The most frequent answer that the data set's training part gives to the same question, whatever the picture.

    Questions are the same after `norm`, of the same answer type. Where a question is new, the most frequent answer of
    its answer type.
    """
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    alike: dict[str, list[str]] = defaultdict(list)
    for question in train:
        same[question.answer_type, norm(question.question)].append(question.answer)
        alike[question.answer_type].append(question.answer)
    best = {asked: _most_frequent(answers) for asked, answers in same.items()}
    any_best = {kind_: _most_frequent(answers) for kind_, answers in alike.items()}
    asked = ((line["answer_type"], norm(line["question"])) for line in lines)
    return [_said(line, best.get(key, any_best.get(key[0], ""))) for line, key in zip(lines, asked, strict=True)]


def _most_frequent(answers: Sequence[str]) -> str:
    """Of the answers that are the same after `norm`, in their most frequent spelling; the first of equals."""
    alike: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        alike[norm(answer)][answer] += 1
    return max(alike.values(), key=lambda of: of.total()).most_common(1)[0][0]


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
    if line["answer_type"] not in ("choice", "blank"):
        return gold
    is_choice = line["answer_type"] == "choice"
    index = gold_index(gold, line["choices"], letter_first=is_choice)
    if index is None:  # of a blank: lines are checked
        return plain(gold)
    return LETTERS[index] if is_choice else without_prefix(line["choices"])[index]


def _said(line: Line, output: str) -> Line:
    """The line with another output, and no boxes; a score of 1 for the label or letter that is said."""
    names = LABELS[kind(line["dataset"])] if line["answer_type"] == "label" else tuple(line["scores"] or ())
    return {
        **line,
        "output": output,
        "boxes": None,
        "scores": {name: float(name == output) for name in names} if output in names else None,
    }
