"""`Scorer`: how the predictions of one data set are checked and judged; a benchmark has one for each data set."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from umed.evaluation.prediction import Prediction
from umed.evaluation.question import Question, without_stand_in
from umed.evaluation.rules.mentions import NO_ALIASES
from umed.evaluation.score import COUNTS, Score
from umed.judges.base import NamedJudge

JUDGED = "open_judged"  # the rule that a language model decides
Verdict = Mapping[str, bool | float | None]  # rule -> verdict on one prediction; None = the rule does not apply


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may choose about the rules.

    Args:
        compat: rules of other projects to compute besides, names of `rules.compat.VARIANTS`.
        synonyms: category -> other names that count as naming it.
        allow_others: whether an answer may name other categories too (`named` in the config).
        open_judge: says whether open answers mean the gold ones, for `open_judged`; None = the rule is left out.
    """

    compat: tuple[str, ...] = ()
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=lambda: NO_ALIASES)
    allow_others: bool = False
    open_judge: NamedJudge | None = None


DEFAULTS = Options()


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the paper's table of external benchmarks, in per cent.

    Args:
        nearest: the rule nearest to the paper's; strict: the strict one, if there is one; judged: the one that a
            language model decides.
    """

    name: str
    title: str
    nearest: str
    strict: str | None = None
    judged: str | None = None


class Scorer(ABC):
    """The rules of one data set.

    Attributes:
        answer_types: those of its items.
        rules: names of the rules that judge item by item, in the order of tables.
        box_rules: those among them that a baseline without boxes has no value of.
        question_type: what its items are read as.
        columns: of the paper's table.
        scores_samples: whether sampled answers are scored besides greedy ones.
    """

    answer_types: tuple[str, ...]
    rules: tuple[str, ...]
    box_rules: frozenset[str] = frozenset()
    question_type: type[Question] = Question
    columns: tuple[Column, ...] = ()
    scores_samples: bool = False

    def check(self, prediction: Prediction) -> None:  # noqa: B027
        """Raise ValueError unless the prediction can be judged; called for files from anywhere."""

    @abstractmethod
    def judge(self, predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Verdict]:
        """The verdict of every rule on each prediction of the data set, in order.

        An empty or unreadable output is wrong, never None.
        """

    def summarize(self, predictions: Sequence[Prediction], verdicts: Sequence[Verdict]) -> list[Score]:
        """Scores that are no mean of verdicts, such as an AUC."""
        return []

    def score_samples(self, predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Score]:
        """Scores of answers sampled at temperature 1, several an item."""
        return []

    def score_controls(self, predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Score]:
        """Scores of answers to pictures known to be normal."""
        return []

    def chance(self, answer_types: Iterable[str]) -> dict[str, float]:
        """Rule -> what guessing among the choices or labels of such items gives."""
        return {}

    def slice_of(self, question: Question) -> str:
        """The part of the data set that the item is reported under as well; empty = none."""
        return ""

    def gold_output(self, question: Question) -> str:
        """The gold answer as a model would write it."""
        return question.gold.strip()

    def labels(self, question: Question) -> tuple[str, ...]:
        """The names that `scores` of a prediction have; empty = it has none."""
        return ()

    def note(self, dataset: str, predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        """What a reader of the scores should know."""
        return []


def count_answers(dataset: str, predictions: Sequence[Prediction]) -> list[Score]:
    """`thought_removed` and `unreadable`: shares of the answers with a thought, and of those with nothing to read."""
    n = len(predictions)
    counts = sum(p.has_thought for p in predictions), sum(p.is_unreadable for p in predictions)
    return [Score(dataset, rule, count / n, n=n) for rule, count in zip(COUNTS, counts, strict=True)]


def group_by_dataset(predictions: Sequence[Prediction]) -> dict[str, list[int]]:
    """Data set -> the positions of its predictions."""
    positions: dict[str, list[int]] = defaultdict(list)
    for place, prediction in enumerate(predictions):
        positions[prediction.question.dataset].append(place)
    return positions


def judge_all(
    predictions: Sequence[Prediction], scorers: Mapping[str, Scorer], options: Options = DEFAULTS
) -> list[Verdict]:
    """The verdict of every rule of its data set on each prediction, in order."""
    verdicts: list[Verdict] = [{}] * len(predictions)
    for dataset, places in group_by_dataset(predictions).items():
        judged = scorers[without_stand_in(dataset)].judge([predictions[k] for k in places], options)
        for k, verdict in zip(places, judged, strict=True):
            verdicts[k] = verdict
    return verdicts


def to_score_line(prediction: Prediction, verdict: Verdict, options: Options) -> dict[str, Any]:
    """The line of a file of verdicts; what a judge has decided carries its name."""
    by = {"judge": options.open_judge.model} if options.open_judge and verdict.get(JUDGED) is not None else {}
    return {"id": prediction.question.id, **verdict, **by}


def mean_scores(
    scorer: Scorer, dataset: str, predictions: Sequence[Prediction], verdicts: Sequence[Verdict]
) -> list[Score]:
    """The mean of each rule over the items that it applies to, and what is no mean; a rule of no item is left out."""
    scores = []
    for rule in verdicts[0]:
        values = [float(value) for verdict in verdicts if (value := verdict[rule]) is not None]
        if values:
            scores.append(Score(dataset, rule, sum(values) / len(values), n=len(values)))
    return scores + scorer.summarize(predictions, verdicts)
