"""Answers given without looking at the picture: what a score must beat to mean anything.

A baseline is scored by the rules of the real answers. The baselines `black` and `shuffled` ask the model again.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from umed.evaluation.prediction import Prediction
from umed.evaluation.question import Question, without_stand_in
from umed.evaluation.rules.normalize import norm
from umed.evaluation.scorer import Scorer


def answer_majority(predictions: Sequence[Prediction], scorers: Mapping[str, Scorer]) -> list[Prediction]:
    """The most frequent gold answer of the same part of the data set and answer type, to every item.

    It is taken from the test's own gold answers: the best that a constant answer can do by the strict rules.
    """
    golds: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for prediction in predictions:
        scorer = scorers[without_stand_in(prediction.question.dataset)]
        golds[_part(prediction.question)].append(scorer.gold_output(prediction.question))
    majority = {part: _most_frequent(of_part) for part, of_part in golds.items()}
    return [_answer(prediction, majority[_part(prediction.question)], scorers) for prediction in predictions]


def answer_by_question(
    predictions: Sequence[Prediction], train: Sequence[Question], scorers: Mapping[str, Scorer]
) -> list[Prediction]:
    """The most frequent answer that the data set's training part gives to the same question, whatever the picture.

    Questions are the same if they are equal after `norm` and of the same answer type. A new question gets the most
    frequent answer of its answer type.
    """
    of_question: dict[tuple[str, str], list[str]] = defaultdict(list)
    of_type: dict[str, list[str]] = defaultdict(list)
    for question in train:
        of_question[question.answer_type, norm(question.question)].append(question.gold)
        of_type[question.answer_type].append(question.gold)
    best = {key: _most_frequent(answers) for key, answers in of_question.items()}
    best_of_type = {answer_type: _most_frequent(answers) for answer_type, answers in of_type.items()}
    answers = []
    for prediction in predictions:
        asked = prediction.question.answer_type, norm(prediction.question.question)
        answers.append(_answer(prediction, best.get(asked, best_of_type.get(asked[0], "")), scorers))
    return answers


def _most_frequent(answers: Sequence[str]) -> str:
    """Of the answers that are the same after `norm`, in their most frequent spelling; the first of equals."""
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        spellings[norm(answer)][answer] += 1
    return max(spellings.values(), key=lambda counts: counts.total()).most_common(1)[0][0]


def _part(question: Question) -> tuple[str, str, str]:
    return question.dataset, question.answer_type, question.part


def _answer(prediction: Prediction, output: str, scorers: Mapping[str, Scorer]) -> Prediction:
    """The same item with a constant output and no evidence of the model; its label or letter has a score of 1."""
    labels = scorers[without_stand_in(prediction.question.dataset)].labels(prediction.question)
    scores = {label: float(label == output) for label in labels} if prediction.scores and output in labels else None
    return Prediction(question=prediction.question, output=output, scores=scores)
