"""Group baseline without a critic (reading R11 `group`): the answers to one query judge each other."""

import torch
from torch import Tensor

from umed.rollout import Rollout


def group_advantage(reward_B: Tensor, num_candidates: int, scale: bool) -> Tensor:
    """R_g minus the mean over the answers to one query, optionally over their spread; (B,).

    A group without spread, or with one scorable answer, gives exactly 0; NaN stays out and gets 0.
    """
    groups = reward_B.view(-1, num_candidates)
    centered = (groups - groups.nanmean(1, keepdim=True)).nan_to_num(0.0)
    if scale:
        count = (~groups.isnan()).sum(1, keepdim=True).clamp(min=1)
        spread = (centered.square().sum(1, keepdim=True) / count).sqrt()
        centered = torch.where(spread > 1e-6, centered / spread.clamp(min=1e-6), torch.zeros_like(centered))
    return centered.reshape(-1)


class GroupCredit:
    """The same advantage for every token of an answer; no value target.

    Args:
        c1: scale of the reward.
        scale: divide by the group's spread, as GRPO does.
    """

    uses_values = False

    def __init__(self, c1: float = 1.0, scale: bool = True) -> None:
        self.c1, self.scale = c1, scale

    def __call__(self, rollout: Rollout, reward_B: Tensor) -> Rollout:
        reward_B = reward_B.to(rollout.values_BT.device)
        mask = rollout.mask_BT & ~reward_B.isnan()[:, None]
        advantage_B = self.c1 * group_advantage(reward_B, rollout.num_candidates, self.scale)
        return rollout.updated(
            mask_BT=mask,
            advantages_BT=advantage_B[:, None] * mask,
            returns_BT=rollout.values_BT * mask,
            reward_B=reward_B.nan_to_num(0.0),
        )
