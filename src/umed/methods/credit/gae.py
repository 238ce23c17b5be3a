"""Generalized advantage estimation with the critic, equations (14) and (15): the paper's credit."""

from collections.abc import Mapping

import torch
from torch import Tensor

from umed.methods.credit.base import paid_at_last, scorable, whitened
from umed.rollout import Rollout


def gae(u_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Equation (15): advantages and returns, (B, T) each; V := 0 after the last valid token.

    `gae_lambda = 0` is the printed Bellman form (4).
    """
    mask = mask_BT.float()
    values = values_BT * mask
    after = torch.nn.functional.pad(values, (0, 1))[:, 1:]
    delta = (u_BT + gamma * after - values) * mask
    advantage, columns = torch.zeros_like(delta[:, 0]), []
    for t in reversed(range(delta.shape[1])):
        advantage = delta[:, t] + gamma * gae_lambda * advantage
        columns.append(advantage)
    advantages = torch.stack(columns[::-1], 1) * mask
    return advantages, advantages + values


class GaeCredit:
    """A_t and the value target from the critic (reading R11 `gae`).

    Args:
        gamma, gae_lambda: equation (15).
        c1: scale of the reward, equation (14).
        whiten: reading R18.
    """

    uses_values, compares = True, False

    def __init__(self, gamma: float = 1.0, gae_lambda: float = 0.95, c1: float = 1.0, whiten: bool = True) -> None:
        self.gamma, self.gae_lambda, self.c1, self.whiten = gamma, gae_lambda, c1, whiten

    def __call__(self, rollout: Rollout, reward_B: Tensor, summands: Mapping[str, Tensor] | None = None) -> Rollout:
        """Advantages and returns; an answer that nothing could score (NaN) leaves the mask and moves nothing."""
        reward_B, mask = scorable(rollout, reward_B)
        u_BT = self.c1 * paid_at_last(reward_B.nan_to_num(0.0), mask) - rollout.penalty_BT * mask
        advantages, returns = gae(u_BT, rollout.values_BT, mask, self.gamma, self.gae_lambda)
        if self.whiten:
            advantages = whitened(advantages, mask)
        return rollout.updated(
            mask_BT=mask, advantages_BT=advantages, returns_BT=returns, reward_B=reward_B.nan_to_num(0.0)
        )
