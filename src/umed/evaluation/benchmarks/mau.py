"""MAU as a benchmark: diagnoses with boxes, reported by source, and pictures known to be normal."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from umed.boxes import Box, BoxError
from umed.data.controls import ask_controls
from umed.errors import InputError
from umed.evaluation.benchmarks.base import Benchmark, Split
from umed.evaluation.intervals import bootstrap_means, quantile_intervals
from umed.evaluation.prediction import Prediction, short
from umed.evaluation.question import CONTROLS, BoxQuestion, Question
from umed.evaluation.results import name_pictures
from umed.evaluation.rules import mentions
from umed.evaluation.rules.diagnosis import box_iou, names_category
from umed.evaluation.score import AVERAGE, Score
from umed.evaluation.scorer import DEFAULTS, Options, Scorer, Verdict
from umed.pictures import picture_of
from umed.records import Record, RecordSet

NAME, FILE = "mau", "records.jsonl"
RULES = ("accuracy", "iou", "acc@0.5", "unparsed")
DRAWS = 2000  # of the bootstrap over pictures


class BoxScorer(Scorer):
    """Rules of diagnoses with boxes; each is also reported by source and as the plain mean of the sources."""

    answer_types = ("diagnosis",)
    rules = RULES
    box_rules = frozenset(RULES[1:])
    question_type = BoxQuestion
    scores_samples = True

    def check(self, prediction: Prediction) -> None:
        question = _box_question(prediction)
        if not question.gold_boxes:
            raise ValueError("gold_boxes is []: a list of boxes of four numbers, at least one, is expected")
        for corners in question.gold_boxes:
            try:
                Box.from_xyxy(corners, question.width, question.height)
            except BoxError as error:
                raise ValueError(
                    f"gold_boxes has {short([f'{v:g}' for v in corners])} in a picture of {question.width} x "
                    f"{question.height} ({error.reason}): [x0, y0, x1, y1] in pixels is expected"
                ) from None

    def judge(self, predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for prediction, accuracy in zip(predictions, _accuracies(predictions, options), strict=True):
            iou = box_iou(prediction.said_boxes, _box_question(prediction).true_boxes)
            verdicts.append(
                {
                    "accuracy": accuracy,
                    "iou": iou,
                    "acc@0.5": iou >= 0.5,
                    "unparsed": prediction.boxes is None,
                }
            )
        return verdicts

    def slice_of(self, question: Question) -> str:
        return question.part

    def gold_output(self, question: Question) -> str:
        return question.category if isinstance(question, BoxQuestion) else question.gold

    def summarize(self, predictions: Sequence[Prediction], verdicts: Sequence[Verdict]) -> list[Score]:
        """`accuracy_multiclass/avg`: without the sources of one category, whose accuracy says only that the model knows
        that word. `attention`: the mean share of equation (12) over the answers that name the abnormality.
        """
        looking = [p for p in predictions if p.attention is not None]
        attention = list(_score_by_source("attention", looking, [p.attention or 0.0 for p in looking]))
        several = {source for source, names in categories_by_source(predictions).items() if len(names) > 1}
        by_source: dict[str, list[float]] = defaultdict(list)
        for prediction, verdict in zip(predictions, verdicts, strict=True):
            by_source[prediction.question.part].append(float(verdict["accuracy"] or 0.0))
        if not several:
            return attention
        means = [sum(by_source[source]) / len(by_source[source]) for source in sorted(several)]
        n = sum(len(by_source[source]) for source in several)
        dataset = predictions[0].question.dataset
        return [*attention, Score(dataset, "accuracy_multiclass", sum(means) / len(means), AVERAGE, n=n)]

    def score_samples(self, predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Score]:
        """`accuracy_sampled` and `iou_sampled` by source and on average: of answers sampled at temperature 1."""
        accuracies = [float(right) for right in _accuracies(predictions, options)]
        ious = [box_iou(p.said_boxes, _box_question(p).true_boxes) for p in predictions]
        scores = list(_score_by_source("accuracy_sampled", predictions, accuracies))
        return scores + list(_score_by_source("iou_sampled", predictions, ious))

    def score_controls(self, predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Score]:
        """On pictures known to be normal: `false_positives`, answers that name a category of the source, and
        `false_boxes`, answers with a box; by source and on average.
        """
        verdicts = judge_controls(predictions, options)
        return [
            score
            for rule in ("false_positives", "false_boxes")
            for score in _score_by_source(rule, predictions, [float(verdict[rule] or 0.0) for verdict in verdicts])
        ]


def judge_controls(predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Verdict]:
    """On each normal picture: whether the answer names a category of the source, and whether it has a box."""
    verdicts: list[Verdict] = []
    for prediction in predictions:
        names = mentions.named(prediction.final_answer, _box_question(prediction).categories, options.synonyms)
        verdicts.append({"false_positives": bool(names), "false_boxes": bool(prediction.boxes)})
    return verdicts


def _accuracies(predictions: Sequence[Prediction], options: Options) -> list[bool]:
    """Whether each answer names the gold category and no other of its source; what is also gold for the same picture is
    no other one.
    """
    categories = categories_by_source(predictions)
    gold: dict[tuple[str, str], set[str]] = defaultdict(set)
    for question in map(_box_question, predictions):
        gold[question.source, question.image or question.id].add(question.category)
    accuracies = []
    for prediction in predictions:
        q = _box_question(prediction)
        also = {*q.also_gold, *gold[q.source, q.image or q.id]} - {q.category}
        names = categories[q.source]
        accuracies.append(
            names_category(prediction.final_answer, q.category, names, options.synonyms, options.allow_others, also)
        )
    return accuracies


def categories_by_source(predictions: Sequence[Prediction]) -> dict[str, list[str]]:
    """The categories of each source: those that its predictions name as such, and all that are gold."""
    names: dict[str, set[str]] = defaultdict(set)
    for prediction in predictions:
        question = _box_question(prediction)
        names[question.source] |= {question.category, *question.categories}
    return {source: sorted(of) for source, of in names.items()}


def question_of(record: Record, categories: Sequence[str], also_gold: Iterable[str] = ()) -> BoxQuestion:
    """The question of a record.

    Args:
        categories: those of its source, among which that of a normal picture is not.
        also_gold: those that other records have for the same picture.
    """
    from umed.chat import without_region  # imports torch, which scoring does without

    size = record.width, record.height
    return BoxQuestion(
        id=record.id,
        dataset=NAME,
        split_file=FILE,
        question=record.query,
        answer=without_region(record.diagnosis),
        answer_type="diagnosis",
        image=record.image,
        source=record.source,
        category=record.category,
        gold_boxes=tuple(box.to_xyxy(*size) for box in record.boxes),
        width=record.width,
        height=record.height,
        categories=tuple(sorted({*([record.category] if record.boxes else []), *categories})),
        also_gold=tuple(sorted({*also_gold} - {record.category})),
    )


class MauBenchmark(Benchmark):
    """The records of one split, and pictures known to be normal.

    Args:
        data: records of all splits: their sources' categories are what an answer may confuse.
        split: the one that is asked.
        controls: normal pictures, of any split. One whose source has no records is left out.

    Raises:
        InputError: the split is empty.
    """

    scorers: Mapping[str, Scorer] = {NAME: BoxScorer()}
    splits: Mapping[str, Split] = {}  # the records lie in the run folder itself

    def __init__(self, data: RecordSet, split: str = "test", controls: Sequence[Record] = ()) -> None:
        self.roots: Mapping[str, Path] = data.roots
        self.categories: dict[str, tuple[str, ...]] = {}
        records = [record for record in data.records if record.boxes]  # controls that were trained on are no questions
        for source in dict.fromkeys(record.source for record in records):
            names = {record.category for record in records if record.source == source}
            self.categories[source] = tuple(sorted(names))
        self.records = [record for record in records if record.split == split]
        if not self.records:
            raise InputError(f"no record has split={split}: see records.jsonl and data.split.fractions")
        self.normal = list(ask_controls([c for c in controls if c.split == split], records))
        self._record_of = {record.id: record for record in (*self.records, *(control for _, control in self.normal))}

    def questions(self) -> list[Question]:
        gold: dict[tuple[str, str], set[str]] = defaultdict(set)
        for record in self.records:
            gold[record.source, record.image].add(record.category)
        return [question_of(r, self.categories[r.source], gold[r.source, r.image]) for r in self.records]

    def train(self) -> list[Question]:
        """Empty: which records a model was tuned on is known to its run, not to the benchmark."""
        return []

    def controls(self) -> list[Question]:
        """Normal pictures, asked as the abnormal ones of their source are; the queries take turns."""
        questions: list[Question] = []
        for source, control in self.normal:
            changes = {"dataset": f"{NAME}{CONTROLS}", "source": source, "categories": self.categories[source]}
            questions.append(question_of(control, ()).model_copy(update=changes))
        return questions

    def picture(self, question: Question) -> Image.Image:
        return picture_of(self._record_of[question.id], self.roots)


def _box_question(prediction: Prediction) -> BoxQuestion:
    assert isinstance(prediction.question, BoxQuestion), prediction.question.id  # see `question_type`
    return prediction.question


def _score_by_source(rule: str, predictions: Sequence[Prediction], values: Sequence[float]) -> Iterator[Score]:
    """The mean of each source, and the plain mean of the sources with its interval: pictures are drawn anew."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, prediction in enumerate(predictions):
        places[prediction.question.part].append(place)
    if not places:
        return
    dataset, means = predictions[0].question.dataset.removesuffix(CONTROLS), []
    drawn = np.zeros(DRAWS)
    for seed, (source, of_source) in enumerate(sorted(places.items())):
        values_N = np.array([values[k] for k in of_source], float)
        means.append(float(values_N.mean()))
        drawn += bootstrap_means(values_N[:, None], name_pictures([predictions[k] for k in of_source]), DRAWS, seed)[
            :, 0
        ]
        yield Score(dataset, rule, means[-1], source, n=len(of_source))
    ends = quantile_intervals(drawn[:, None] / len(means))[0]
    low, high = (None, None) if np.isnan(ends[0]) else map(float, ends)
    yield Score(dataset, rule, sum(means) / len(means), AVERAGE, low=low, high=high, n=len(values))
