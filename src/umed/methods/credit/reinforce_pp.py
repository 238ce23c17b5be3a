"""REINFORCE++: the discounted reward to go of each token, whitened over the whole rollout; no critic."""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from umed.errors import check_choice
from umed.methods.credit.base import Credit, against_group, paid_at_last, to_go, whitened
from umed.rollout import Rollout


class ReinforceCredit(Credit):
    """Whitened rewards to go.

    Args:
        gamma: discount.
        c1: scale of the reward against a KL penalty in it; a division by the spread takes out any other effect.
        baseline: `none`, or `group`, the mean over the answers to one query, taken off first (REINFORCE++-baseline).
    """

    def __init__(self, gamma: float = 1.0, c1: float = 1.0, baseline: Literal["none", "group"] = "none") -> None:
        self.gamma, self.c1 = gamma, c1
        self.compares = check_choice("credit.baseline", baseline, "none", "group") == "group"

    def assign(
        self, rollout: Rollout, reward_B: Tensor, penalty_BT: Tensor, spans: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        paid = against_group(reward_B, rollout.num_candidates).reshape(-1) if self.compares else reward_B
        u_BT = self.c1 * paid_at_last(paid.nan_to_num(0.0), rollout.mask_BT) - penalty_BT
        return whitened(to_go(u_BT, self.gamma), rollout.mask_BT), rollout.values_BT
