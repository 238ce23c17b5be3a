"""Reading R8: how c1 * r_t of equation (11) enters; a sampled reward added to a loss as printed has no gradient."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from umed.errors import InputError
from umed.models.policy import Scores
from umed.rewards.total import Scored, TotalReward
from umed.rollout import TrainingBatch


class ThroughAdvantage:
    """`credit`: the whole reward through the advantage."""

    needs_attention = False
    whole = True  # the advantage carries all rewards

    def __init__(self, rewards: TotalReward, c1: float) -> None:
        self.rewards, self.c1 = rewards, c1

    def credited(self, scored: Scored) -> Tensor:
        """The part of the reward that enters through the advantage, (B,)."""
        return scored.total_B

    def gain(self, scores: Scores, part: TrainingBatch, logp_BT: Tensor) -> Tensor:
        """What is added to the objective of each token, (B, T) or (B, 1)."""
        return logp_BT.new_zeros(len(logp_BT), 1)


class ScoreFunction(ThroughAdvantage):
    """`score_function`: r_LLM through the advantage, and c1 R log pi."""

    whole = False

    def __init__(self, rewards: TotalReward, c1: float) -> None:
        super().__init__(rewards, c1)
        self.judged = rewards.require("judged", "objective.reward_term=score_function")

    def credited(self, scored: Scored) -> Tensor:
        return scored.sum_of(self.judged)

    def gain(self, scores: Scores, part: TrainingBatch, logp_BT: Tensor) -> Tensor:
        return self.c1 * part.reward_B.to(logp_BT)[:, None] * logp_BT


class Differentiable(ThroughAdvantage):
    """`differentiable`: c1 r_att / max r_att with its gradient, the other rewards through the advantage."""

    needs_attention = True
    whole = False

    def __init__(self, rewards: TotalReward, c1: float) -> None:
        super().__init__(rewards, c1)
        self.names = rewards.require("differentiable", "objective.reward_term=differentiable")
        if rewards.normalize != "max":
            raise InputError(
                "objective.reward_term=differentiable divides the attention by its maximum, "
                f"reward.normalize={rewards.normalize} does not: use reward.normalize=max"
            )

    def credited(self, scored: Scored) -> Tensor:
        return scored.total_B - torch.stack([scored.summands[n].nan_to_num(0.0) for n in self.names]).sum(0)

    def gain(self, scores: Scores, part: TrainingBatch, logp_BT: Tensor) -> Tensor:
        gain = torch.zeros_like(part.reward_B, dtype=logp_BT.dtype, device=logp_BT.device)
        attention_BNP = scores.attention_BNP
        # as wide as the rollout, whose widest picture may be in another minibatch
        missing = part.region_BP.shape[1] - attention_BNP.shape[2]
        attention_BNP = torch.cat([attention_BNP, attention_BNP.new_zeros(*attention_BNP.shape[:2], missing)], 2)
        for name in self.names:
            reward, best = self.rewards.parts[name], part.maxima[name].to(logp_BT)
            share = reward.weight * reward.share(attention_BNP, part)
            gain = gain + torch.where(best > 0, share / best.where(best > 0, 1.0), 0.0)
        return (self.c1 * gain)[:, None]


REWARD_TERMS: Mapping[str, Callable[[TotalReward, float], ThroughAdvantage]] = {
    "credit": ThroughAdvantage,
    "score_function": ScoreFunction,
    "differentiable": Differentiable,
}
