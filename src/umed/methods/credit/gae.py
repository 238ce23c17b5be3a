"""Generalized advantage estimation with the critic, equations (14) and (15): the paper's credit."""

from collections.abc import Mapping

import torch
from torch import Tensor

from umed.methods.credit.base import Credit, paid_at_last, to_go, whitened
from umed.rollout import Rollout, TrainingBatch


def gae(u_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Equation (15): advantages and returns, (B, T) each; V := 0 after the last valid token.

    `gae_lambda = 0` is the printed Bellman form (4).
    """
    mask = mask_BT.float()
    values = values_BT * mask
    after = torch.nn.functional.pad(values, (0, 1))[:, 1:]
    delta = (u_BT + gamma * after - values) * mask
    advantages = to_go(delta, gamma * gae_lambda) * mask
    return advantages, advantages + values


class GaeCredit(Credit):
    """A_t and the value target from the critic (reading R11 `gae`).

    Args:
        gamma, gae_lambda: equation (15).
        c1: scale of the reward, equation (14).
        whiten: reading R18.
    """

    uses_values = True

    def __init__(self, gamma: float = 1.0, gae_lambda: float = 0.95, c1: float = 1.0, whiten: bool = True) -> None:
        self.gamma, self.gae_lambda, self.c1, self.whiten = gamma, gae_lambda, c1, whiten

    def assign(
        self, rollout: Rollout, reward_B: Tensor, penalty_BT: Tensor, spans: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        u_BT = self.c1 * paid_at_last(reward_B.nan_to_num(0.0), rollout.mask_BT) - penalty_BT
        advantages, returns = gae(u_BT, rollout.values_BT, rollout.mask_BT, self.gamma, self.gae_lambda)
        return whitened(advantages, rollout.mask_BT) if self.whiten else advantages, returns

    def metrics(self, batch: TrainingBatch) -> dict[str, float]:
        return {"policy/explained_variance": explained_variance(batch)}


def explained_variance(batch: TrainingBatch) -> float:
    """1 - Var(return - V) / Var(return) over valid tokens; 1 = a perfect critic, below 0 = worse than a constant."""
    numbers = torch.stack([batch.returns_BT, batch.values_BT, batch.mask_BT.float()]).cpu()
    returns, values = numbers[:2, numbers[2] > 0]
    spread = returns.var(correction=0) if len(returns) else returns.new_zeros(())
    return float(1 - (returns - values).var(correction=0) / spread) if spread > 0 else 0.0
