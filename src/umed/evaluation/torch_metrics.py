"""The rules as torchmetrics modules, for validation inside a training loop: `update(predictions)`, `compute()`.

Sums go over all processes. Where no item had a verdict, `compute` gives NaN, as torchmetrics does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from umed.errors import InputError
from umed.evaluation.benchmarks.find import find_scorers
from umed.evaluation.benchmarks.medmnist import LabelScorer
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import without_stand_in
from umed.evaluation.rules import labels
from umed.evaluation.rules.mentions import NO_ALIASES
from umed.evaluation.scorer import Options

Line = Mapping[str, Any]


class RuleMetric(Metric):
    """Mean verdict of one rule of one data set.

    Args:
        dataset: predictions of others are passed over.
        rule: one that judges item by item; for `auc` take `AucMetric`.
        synonyms, named: of MAU's accuracy, see `Options`.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(
        self,
        dataset: str,
        rule: str,
        synonyms: Mapping[str, Sequence[str]] = NO_ALIASES,
        named: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        scorer = find_scorers().get(without_stand_in(dataset))
        known = scorer.rules if scorer else ()
        if scorer is None or rule not in known:
            raise InputError(f"{dataset}/{rule} is no rule of single items: choose of {', '.join(known) or 'none'}")
        self.dataset, self.rule, self.scorer = dataset, rule, scorer
        self.options = Options(synonyms=synonyms, allow_others=named)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[Prediction | Line]) -> None:
        """Judge predictions, or lines of a prediction file.

        `open_nearest` needs their `choices`: a batch does not hold all gold answers.
        """
        own = _of_dataset(predictions, self.dataset)
        if self.rule == "open_nearest" and any(
            p.question.answer_type == "open" and p.question.choices is None for p in own
        ):
            raise InputError(
                "open_nearest of a batch needs each line's choices: give the candidates, or score the file"
            )
        values = [float(v) for verdict in self.scorer.judge(own, self.options) if (v := verdict[self.rule]) is not None]
        self.total += sum(values)
        self.count += len(values)

    def compute(self) -> Tensor:
        return (self.total / self.count).float()


class AucMetric(Metric):
    """MedMNIST's `auc` over all predictions seen; NaN where a class is missing."""

    full_state_update = False
    scores: list[Tensor]
    golds: list[Tensor]

    def __init__(self, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        scorer = find_scorers()[without_stand_in(dataset)]
        assert isinstance(scorer, LabelScorer), dataset
        self.dataset, self.scorer = dataset, scorer
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("golds", [], dist_reduce_fx="cat")

    def update(self, predictions: Sequence[Prediction | Line]) -> None:
        """Keep the scores of predictions that have them."""
        scored = [p for p in _of_dataset(predictions, self.dataset) if p.scores]
        golds, scores = self.scorer.matrix(scored)
        self.scores.append(torch.from_numpy(scores))
        self.golds.append(torch.from_numpy(golds))

    def compute(self) -> Tensor:
        if not len(self.golds):
            return torch.tensor(torch.nan)
        area = labels.auc(dim_zero_cat(self.golds).cpu().numpy(), np.asarray(dim_zero_cat(self.scores).cpu()))
        return torch.tensor(torch.nan if area is None else area)


def _of_dataset(predictions: Sequence[Prediction | Line], dataset: str) -> list[Prediction]:
    question_type = find_scorers()[without_stand_in(dataset)].question_type
    typed = [p if isinstance(p, Prediction) else Prediction.from_line(p, question_type) for p in predictions]
    return [p for p in typed if p.question.dataset == dataset]
