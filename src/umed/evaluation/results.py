"""Scores of predictions: every rule with its interval, by slice too, and the baselines beside each value."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from umed.evaluation.intervals import bootstrap_intervals, bootstrap_means, quantile_intervals
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import BoxQuestion, without_stand_in
from umed.evaluation.score import AVERAGE, Score
from umed.evaluation.scorer import (
    DEFAULTS,
    Options,
    Scorer,
    Verdict,
    count_answers,
    group_by_dataset,
    judge_all,
    mean_scores,
)

WITHOUT_BOXES = ("majority", "question_prior")  # baselines that say no box


def score_predictions(
    predictions: Sequence[Prediction],
    verdicts: Sequence[Verdict],
    scorers: Mapping[str, Scorer],
    baselines: Mapping[str, Sequence[Prediction]] | None = None,
    leaked: Mapping[str, Collection[str]] | None = None,
    *,
    options: Options = DEFAULTS,
    draws: int = 2000,
) -> list[Score]:
    """Score predictions of any data sets.

    Args:
        verdicts: those of the predictions, see `judge_all`.
        baselines: row -> answers of a baseline to the same items.
        leaked: data set -> ids of items whose picture lies in training; `disjoint` is the value without them.
        draws: of the bootstrap over pictures; 0 = no intervals.
    """
    scores: list[Score] = []
    for dataset, places in group_by_dataset(predictions).items():
        scorer = scorers[without_stand_in(dataset)]
        of_dataset, judged = [predictions[k] for k in places], [verdicts[k] for k in places]
        values = [
            *_with_intervals(mean_scores(scorer, dataset, of_dataset, judged), of_dataset, judged, draws),
            *score_slices(scorer, dataset, of_dataset, judged, draws),
        ]
        known = {score.rule for score in values}  # a scorer may count what it cannot read itself
        values += [score for score in count_answers(dataset, of_dataset) if score.rule not in known]
        chance = scorer.chance({p.question.answer_type for p in of_dataset})
        scores += values
        scores += [
            Score(dataset, s.rule, chance[s.rule], row="chance") for s in values if s.rule in chance and not s.slice
        ]
        ids = (leaked or {}).get(dataset, ())
        kept = [k for k, prediction in enumerate(of_dataset) if prediction.question.id not in ids]
        if ids and kept:
            kept_predictions, kept_verdicts = [of_dataset[k] for k in kept], [judged[k] for k in kept]
            scores += _score_row("disjoint", scorer, dataset, kept_predictions, kept_verdicts)
    for row, answers in (baselines or {}).items():
        verdicts_of_row = judge_all(answers, scorers, replace(options, open_judge=None))  # each would cost a request
        for dataset, places in group_by_dataset(answers).items():
            scorer = scorers[without_stand_in(dataset)]
            of_dataset, judged = [answers[k] for k in places], [verdicts_of_row[k] for k in places]
            skipped = scorer.box_rules if row in WITHOUT_BOXES else ()
            row_scores = _score_row(row, scorer, dataset, of_dataset, judged)
            scores += [replace(score, n=None) for score in row_scores if score.rule not in skipped]
    return scores


def score_slices(
    scorer: Scorer, dataset: str, predictions: Sequence[Prediction], verdicts: Sequence[Verdict], draws: int = 0
) -> list[Score]:
    """The mean of each rule in each slice, and the plain mean of the slices as `avg`; empty without slices."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, prediction in enumerate(predictions):
        if name := scorer.slice_of(prediction.question):
            places[name].append(place)
    if not places:
        return []
    rules = list(verdicts[0])
    means_of: dict[str, np.ndarray] = {}
    scores = []
    for seed, (name, of_slice) in enumerate(sorted(places.items())):
        for rule in rules:
            values = [float(verdicts[k][rule] or 0.0) for k in of_slice]
            scores.append(Score(dataset, rule, sum(values) / len(values), name, n=len(values)))
        if draws:
            table_NR = np.array([[verdicts[k][rule] for rule in rules] for k in of_slice], float)
            pictures = name_pictures([predictions[k] for k in of_slice])
            means_of[name] = bootstrap_means(table_NR, pictures, draws, seed)
    for rule in rules:
        means = [score.value for score in scores if score.rule == rule]
        scores.append(Score(dataset, rule, sum(means) / len(means), AVERAGE, n=len(predictions)))
    if not draws:
        return scores
    means_of[AVERAGE] = np.mean(list(means_of.values()), 0)
    intervals = {
        (name, rule): interval
        for name, means_DR in means_of.items()
        for rule, interval in zip(rules, quantile_intervals(means_DR), strict=True)
    }
    return [_bounded(score, *intervals[score.slice, score.rule]) for score in scores]


def name_pictures(predictions: Sequence[Prediction]) -> list[str]:
    """The group of each prediction in a bootstrap: its picture; the item itself where no picture is named."""
    names = []
    for question in (prediction.question for prediction in predictions):
        source = question.source if isinstance(question, BoxQuestion) else ""
        names.append(f"{source}/{question.image}" if question.image else f"id {question.id}")
    return names


def _with_intervals(
    scores: Sequence[Score], predictions: Sequence[Prediction], verdicts: Sequence[Verdict], draws: int
) -> list[Score]:
    """The scores of rules that judge item by item get an interval."""
    rules = [rule for rule in verdicts[0] if any(verdict[rule] is not None for verdict in verdicts)]
    if not draws or not rules:
        return list(scores)
    table_NR = np.array([[verdict[rule] for rule in rules] for verdict in verdicts], float)
    intervals = dict(zip(rules, bootstrap_intervals(table_NR, name_pictures(predictions), draws), strict=True))
    return [
        _bounded(score, *intervals[score.rule]) if score.rule in intervals and not (score.slice or score.row) else score
        for score in scores
    ]


def _bounded(score: Score, low: float, high: float) -> Score:
    return score if np.isnan(low) else replace(score, low=float(low), high=float(high))


def _score_row(
    row: str, scorer: Scorer, dataset: str, predictions: Sequence[Prediction], verdicts: Sequence[Verdict]
) -> list[Score]:
    """The same scores as a row beside the model's own."""
    scores = mean_scores(scorer, dataset, predictions, verdicts) + score_slices(scorer, dataset, predictions, verdicts)
    return [replace(score, row=row) for score in scores if not score.row]
