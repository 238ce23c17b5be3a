"""The rules as torchmetrics modules, for validation inside a training loop: `update(lines)`, `compute()`.

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
from umed.evaluation import verdicts as rules
from umed.evaluation.question import kind
from umed.evaluation.rules import labels
from umed.evaluation.rules.mentions import NO_ALIASES

Line = dict[str, Any]


class RuleMetric(Metric):
    """Mean verdict of one rule of one data set.

    Args:
        dataset: lines of others are passed over.
        rule: one of `rules.RULES[dataset]` that judges item by item; for `auc` take `AucMetric`.
        synonyms, named: of MAU's accuracy, see `mau.verdicts`.
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
        known = [r for r in rules.RULES.get(kind(dataset), ()) if r != "auc"]
        if rule not in known:
            raise InputError(f"{dataset}/{rule} is no rule of single items: choose of {', '.join(known) or 'none'}")
        self.dataset, self.rule, self.synonyms, self.named = dataset, rule, synonyms, named
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, lines: Sequence[Line]) -> None:
        """Judge prediction lines; `open_nearest` needs their `choices`: a batch does not hold all gold answers."""
        own = [line for line in lines if line["dataset"] == self.dataset]
        if self.rule == "open_nearest" and any(x["answer_type"] == "open" and x["choices"] is None for x in own):
            raise InputError(
                "open_nearest of a batch needs each line's choices: give the candidates, or score the file"
            )
        found = rules.verdicts(own, synonyms=self.synonyms, named=self.named)
        values = [float(v) for verdict in found if (v := verdict[self.rule]) is not None]
        self.total += sum(values)
        self.count += len(values)

    def compute(self) -> Tensor:
        return (self.total / self.count).float()


class AucMetric(Metric):
    """MedMNIST's `auc` over all lines seen; NaN where a class is missing."""

    full_state_update = False
    scores: list[Tensor]
    golds: list[Tensor]

    def __init__(self, dataset: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset, self.names = dataset, labels.LABELS[kind(dataset)]
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("golds", [], dist_reduce_fx="cat")

    def update(self, lines: Sequence[Line]) -> None:
        """Keep the scores of prediction lines that have them."""
        for line in (x for x in lines if x["dataset"] == self.dataset and x["scores"]):
            self.scores.append(torch.tensor([[line["scores"][name] for name in self.names]], dtype=torch.float64))
            self.golds.append(torch.tensor([labels.gold_label(line["answer"], self.names)]))

    def compute(self) -> Tensor:
        if not len(self.golds):
            return torch.tensor(torch.nan)
        area = labels.auc(dim_zero_cat(self.golds).cpu().numpy(), np.asarray(dim_zero_cat(self.scores).cpu()))
        return torch.tensor(torch.nan if area is None else area)
