"""Reading R8: how c1 * r_t of equation (11) enters; a sampled reward added to a loss as printed has no gradient."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from umed.errors import InputError
from umed.models.policy import Scores
from umed.rewards.total import Scored, TotalReward, over_max
from umed.rollout import TrainingBatch


class ThroughAdvantage:
    """`credit`: the whole reward through the advantage."""

    needs_attention = False
    splits = True  # whether each reward can go to the tokens that it judges

    def __init__(self, rewards: TotalReward, c1: float) -> None:
        self.rewards, self.c1 = rewards, c1

    def credited(self, scored: Scored) -> Tensor:
        """The part of the reward that enters through the advantage, (B,)."""
        return scored.total_B

    def credited_spans(self, scored: Scored) -> dict[str, Tensor]:
        """The same for the tokens that a reward judges, see `Scored.by_span`."""
        return scored.by_span()

    def gain(self, scores: Scores, part: TrainingBatch, logp_BT: Tensor) -> Tensor:
        """What is added to the objective of each token, (B, T) or (B, 1)."""
        return logp_BT.new_zeros(len(logp_BT), 1)


class ScoreFunction(ThroughAdvantage):
    """`score_function`: r_LLM through the advantage, and c1 R log pi."""

    splits = False  # c1 R log pi pays the sum to every token

    def __init__(self, rewards: TotalReward, c1: float) -> None:
        super().__init__(rewards, c1)
        self.judged = rewards.require("judged", "objective.reward_term=score_function")

    def credited(self, scored: Scored) -> Tensor:
        return scored.sum_of(self.judged)

    def gain(self, scores: Scores, part: TrainingBatch, logp_BT: Tensor) -> Tensor:
        return self.c1 * part.reward_B.to(logp_BT)[:, None] * logp_BT


class Differentiable(ThroughAdvantage):
    """`differentiable`: c1 n(r_att) with its gradient, max r_att held fixed; the others through the advantage."""

    needs_attention = True

    def __init__(self, rewards: TotalReward, c1: float) -> None:
        super().__init__(rewards, c1)
        self.names = rewards.require("differentiable", "objective.reward_term=differentiable")
        if rewards.normalize != "max":
            raise InputError(
                "objective.reward_term=differentiable divides the attention by its maximum, "
                f"reward.normalize={rewards.normalize} does not: use reward.normalize=max"
            )

    def credited(self, scored: Scored) -> Tensor:
        return scored.total_without(self.names)

    def credited_spans(self, scored: Scored) -> dict[str, Tensor]:
        return scored.by_span(without=self.names)

    def gain(self, scores: Scores, part: TrainingBatch, logp_BT: Tensor) -> Tensor:
        gain = torch.zeros_like(part.reward_B, dtype=logp_BT.dtype, device=logp_BT.device)
        attention_BNP = scores.attention_BNP
        # as wide as the rollout, whose widest picture may be in another minibatch
        missing = part.region_BP.shape[1] - attention_BNP.shape[2]
        attention_BNP = torch.cat([attention_BNP, attention_BNP.new_zeros(*attention_BNP.shape[:2], missing)], 2)
        for name in self.names:
            reward = self.rewards.parts[name]
            share = reward.share(attention_BNP, part)
            if reward.max_normalized:  # in the form of the summand that `credited` leaves out
                share = over_max(share, part.maxima[name].to(logp_BT))
            gain = gain + reward.weight * share
        return (self.c1 * gain)[:, None]


REWARD_TERMS: Mapping[str, Callable[[TotalReward, float], ThroughAdvantage]] = {
    "credit": ThroughAdvantage,
    "score_function": ScoreFunction,
    "differentiable": Differentiable,
}
