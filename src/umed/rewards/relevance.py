"""`RelevanceReward`: r_LLM of equation (3), a judge's score of the answer against the gold diagnosis."""

import torch
from torch import Tensor

from umed.judges.base import Judge, JudgeItem
from umed.rollout import Rollout


class RelevanceReward:
    """r_LLM of equation (3) in [0, 1] (reading R14); not normalized over the candidates of a query.

    An answer that the judge could not score is NaN (does not apply): the count of NaN is the count of judge failures.
    `weight` is for the total; the reward itself is raw.
    """

    name = "relevance"
    needs = frozenset({"text"})
    max_normalized = False

    def __init__(self, judge: Judge, weight: float = 1.0) -> None:
        self.judge, self.weight = judge, weight

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) float32 scores."""
        records, golds, others = rollout.records, rollout.golds, rollout.others
        items = [
            JudgeItem(records[q].query, golds[q], text, records[q].category, others[q])
            for text, q in zip(rollout.texts, rollout.group_B.tolist(), strict=True)
        ]
        scores = [verdict.score for verdict in self.judge(items)]
        if len(scores) != len(items):
            raise ValueError(f"the judge gave {len(scores)} verdicts for {len(items)} answers")
        return torch.tensor([float("nan") if s is None else s for s in scores], dtype=torch.float32)
