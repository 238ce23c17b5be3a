"""`RelevanceReward`: r_LLM of equation (3), a judge's score of the answer against the gold diagnosis."""

from collections.abc import Sequence

import torch
from torch import Tensor

from umed.chat import Prompt
from umed.judges.ahead import AskAhead
from umed.judges.base import Judge, JudgeItem
from umed.records import Record
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
        self._verdicts = AskAhead(judge)

    def begin(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> None:
        """Ask a judge that waits for a server now."""
        self._verdicts.begin(
            _items([p.record for p in prompts], [p.gold for p in prompts], [p.others for p in prompts], texts)
        )

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) float32 scores."""
        items = _items(rollout.records, rollout.golds, rollout.others, rollout.texts)
        scores = [verdict.score for verdict in self._verdicts(items)]
        if len(scores) != len(items):
            raise ValueError(f"the judge gave {len(scores)} verdicts for {len(items)} answers")
        return torch.tensor([float("nan") if s is None else s for s in scores], dtype=torch.float32)


def _items(
    records: Sequence[Record], golds: Sequence[str], others: Sequence[tuple[str, ...]], texts: Sequence[str]
) -> list[JudgeItem]:
    """What is judged: each answer against its own query."""
    num_candidates = len(texts) // len(records)
    return [
        JudgeItem(record.query, gold, text, record.category, other)
        for q, (record, gold, other) in enumerate(zip(records, golds, others, strict=True))
        for text in texts[q * num_candidates : (q + 1) * num_candidates]
    ]
