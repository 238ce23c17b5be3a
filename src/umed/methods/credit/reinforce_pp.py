"""REINFORCE++: the discounted reward to go of each token, whitened over the whole rollout; no critic."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from umed.errors import check_choice
from umed.methods.credit.base import against_group, paid_at_last, scorable, whitened
from umed.rollout import Rollout


def to_go(u_BT: Tensor, gamma: float) -> Tensor:
    """G_t = u_t + gamma G_{t+1}, (B, T)."""
    total, columns = torch.zeros_like(u_BT[:, 0]), []
    for t in reversed(range(u_BT.shape[1])):
        total = u_BT[:, t] + gamma * total
        columns.append(total)
    return torch.stack(columns[::-1], 1)


class ReinforceCredit:
    """Whitened rewards to go.

    Args:
        gamma: discount.
        c1: scale of the reward against a KL penalty in it; a division by the spread takes out any other effect.
        baseline: `none`, or `group`, the mean over the answers to one query, taken off first (REINFORCE++-baseline).
    """

    uses_values = False

    def __init__(self, gamma: float = 1.0, c1: float = 1.0, baseline: Literal["none", "group"] = "none") -> None:
        self.gamma, self.c1 = gamma, c1
        self.baseline = check_choice("credit.baseline", baseline, "none", "group")
        self.compares = baseline == "group"

    def __call__(self, rollout: Rollout, reward_B: Tensor, summands: Mapping[str, Tensor] | None = None) -> Rollout:
        """Advantages; an answer that nothing could score (NaN) leaves the mask and moves nothing."""
        reward_B, mask = scorable(rollout, reward_B)
        paid = reward_B
        if self.baseline == "group":
            paid = against_group(reward_B, rollout.num_candidates).reshape(-1)
        u_BT = self.c1 * paid_at_last(paid.nan_to_num(0.0), mask) - rollout.penalty_BT * mask
        return rollout.updated(
            mask_BT=mask,
            advantages_BT=whitened(to_go(u_BT, self.gamma), mask),
            returns_BT=rollout.values_BT * mask,
            reward_B=reward_B.nan_to_num(0.0),
        )
