"""`RelevanceReward`: r_LLM of equation (3), a judge's score of the answer against the gold diagnosis."""

import torch
from torch import Tensor

from umed.judges.base import Judge, JudgeItem
from umed.rewards.base import Reward
from umed.rollout import Rollout


class RelevanceReward(Reward):
    """r_LLM of equation (3) in [0, 1] (reading R14); not normalized over the candidates of a query.

    An answer that the judge could not score is NaN.

    Args:
        weight: factor in the sum of equation (13); the reward itself is raw.
    """

    max_normalized = False
    judged = True

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
