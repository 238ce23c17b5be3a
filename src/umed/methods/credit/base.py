"""What every credit assignment shares: where the reward is paid, and masked whitening."""

import torch
from torch import Tensor

from umed.rollout import Rollout


def paid_at_last(reward_B: Tensor, mask_BT: Tensor) -> Tensor:
    """u_t of equation (14): the reward at the last valid token, 0 elsewhere (reading R10)."""
    last = mask_BT.long().cumsum(1).argmax(1)
    u_BT = torch.zeros(mask_BT.shape, dtype=torch.float32, device=mask_BT.device)
    u_BT[torch.arange(len(u_BT), device=u_BT.device), last] = reward_B.to(u_BT)
    return u_BT * mask_BT


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over True entries; 0 when there is none."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def whitened(advantages_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Zero mean and unit (population) spread over the valid tokens of the whole rollout (reading R18).

    Constant advantages give exactly 0.
    """
    centered = (advantages_BT - masked_mean(advantages_BT, mask_BT)) * mask_BT
    spread = masked_mean(centered**2, mask_BT).sqrt()
    return torch.where(spread > 1e-6, centered / spread.clamp(min=1e-6), torch.zeros_like(centered))


def against_group(reward_B: Tensor, num_candidates: int) -> Tensor:
    """The reward minus the mean over the scorable answers to its query, (Q, G); NaN stays NaN.

    Answers that are all worth the same get exactly 0: the mean of three equal numbers can round to another one.
    """
    groups = reward_B.view(-1, num_candidates)
    highest = groups.nan_to_num(float("-inf")).amax(1, keepdim=True)
    lowest = groups.nan_to_num(float("inf")).amin(1, keepdim=True)
    off = groups - groups.nanmean(1, keepdim=True)
    return torch.where(highest == lowest, off * 0.0, off)


def scorable(rollout: Rollout, reward_B: Tensor) -> tuple[Tensor, Tensor]:
    """The rewards on the rollout's device, and its mask without the answers that nothing could score (NaN)."""
    reward_B = reward_B.to(rollout.values_BT.device)
    return reward_B, rollout.mask_BT & ~reward_B.isnan()[:, None]
