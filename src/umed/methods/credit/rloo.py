"""Leave-one-out baseline without a critic (RLOO): each answer is judged by the others to its query."""

from collections.abc import Mapping

from torch import Tensor

from umed.methods.credit.base import Credit, against_group
from umed.rollout import Rollout


def leave_one_out(reward_B: Tensor, num_candidates: int) -> Tensor:
    """R_g minus the mean of the other scorable answers to its query; (B,).

    An answer alone gets 0, as do answers that are all worth the same; NaN stays out and gets 0.
    """
    centered = against_group(reward_B, num_candidates)
    others = (~centered.isnan()).sum(1, keepdim=True) - 1
    return (centered.nan_to_num(0.0) * (others + 1) / others.clamp(min=1)).reshape(-1)


class RlooCredit(Credit):
    """Advantages against the mean of the other answers; no value target.

    Args:
        c1: scale of the reward.
    """

    compares = True

    def __init__(self, c1: float = 1.0) -> None:
        self.c1 = c1

    def assign(
        self, rollout: Rollout, reward_B: Tensor, penalty_BT: Tensor, spans: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        advantages = leave_one_out(self.c1 * reward_B - penalty_BT.sum(1), rollout.num_candidates)
        return advantages[:, None].expand(penalty_BT.shape), rollout.values_BT
