"""`Credit`: advantages and value targets from rewards; and what every credit shares."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from umed.errors import InputError
from umed.rollout import Rollout, TrainingBatch

NO_SPANS: Mapping[str, Tensor] = {}


@dataclass(frozen=True, slots=True)
class Credited:
    """What a credit adds to a rollout; an answer that nothing could score leaves the mask."""

    mask_BT: Tensor
    advantages_BT: Tensor
    returns_BT: Tensor


class Credit(ABC):
    """Decides how much each token contributed to the reward.

    A subclass implements `assign` and sets the attributes that differ from these defaults.
    """

    uses_values: bool = False
    """Whether it needs a critic."""
    compares: bool = False
    """Whether it needs at least two answers to a query."""
    by_span: bool = False
    """Whether tokens get the rewards that judge them; refused where `objective.reward_term` cannot split them."""

    @abstractmethod
    def assign(
        self, rollout: Rollout, reward_B: Tensor, penalty_BT: Tensor, spans: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Advantages and value targets, (B, T) each; what stands beyond `rollout.mask_BT` is not used.

        Args:
            rollout: its mask is without the answers that nothing could score.
            reward_B: NaN for those answers.
            penalty_BT: taken off each token's reward, 0 beyond the mask.
            spans: `boxes` and `name` -> the sum of the rewards that judge those tokens, where there are any.
        """

    def __call__(
        self,
        rollout: Rollout,
        reward_B: Tensor,
        penalty_BT: Tensor | None = None,
        spans: Mapping[str, Tensor] = NO_SPANS,
    ) -> Credited:
        """Equation (14) and what follows from it; `penalty_BT=None` is no penalty."""
        mask = rollout.mask_BT & ~reward_B.isnan()[:, None]
        penalty = torch.zeros_like(rollout.logp_BT) if penalty_BT is None else penalty_BT * mask
        advantages, returns = self.assign(rollout.updated(mask_BT=mask), reward_B, penalty, spans)
        return Credited(mask, advantages.where(mask, 0.0), returns.where(mask, 0.0))

    def metrics(self, batch: TrainingBatch) -> dict[str, float]:
        """What it logs of a batch."""
        return {}


def check_credit(credit: Any) -> None:
    """Refuse a credit that lacks what the protocol asks.

    Raises:
        InputError: naming what is missing.
    """
    asked = ("uses_values", "compares", "by_span", "metrics")
    missing = [name for name in asked if not hasattr(credit, name)] + ["__call__"] * (not callable(credit))
    if missing:
        name = f"{type(credit).__module__}.{type(credit).__qualname__}"
        raise InputError(
            f"credit ({name}) lacks {', '.join(missing)}: derive it from umed.methods.credit.base.Credit, or add them"
        )


def paid_at_last(reward_B: Tensor, mask_BT: Tensor) -> Tensor:
    """u_t of equation (14): the reward at the last valid token, 0 elsewhere (reading R10)."""
    last = mask_BT.long().cumsum(1).argmax(1)
    u_BT = torch.zeros(mask_BT.shape, dtype=torch.float32, device=mask_BT.device)
    u_BT[torch.arange(len(u_BT), device=u_BT.device), last] = reward_B.to(u_BT)
    return u_BT * mask_BT


def to_go(u_BT: Tensor, gamma: float) -> Tensor:
    """G_t = u_t + gamma G_{t+1}, (B, T)."""
    total, columns = torch.zeros_like(u_BT[:, 0]), []
    for t in reversed(range(u_BT.shape[1])):
        total = u_BT[:, t] + gamma * total
        columns.append(total)
    return torch.stack(columns[::-1], 1)


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

    Answers of equal reward get exactly 0: the mean of three equal numbers can round to another one.
    """
    groups = reward_B.view(-1, num_candidates)
    highest = groups.nan_to_num(float("-inf")).amax(1, keepdim=True)
    lowest = groups.nan_to_num(float("inf")).amin(1, keepdim=True)
    off = groups - groups.nanmean(1, keepdim=True)
    return torch.where(highest == lowest, off * 0.0, off)
