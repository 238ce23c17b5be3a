"""Leave-one-out baseline without a critic (RLOO): each answer is judged by the others to its query."""

from collections.abc import Mapping

from torch import Tensor

from umed.methods.credit.base import against_group, scorable
from umed.rollout import Rollout


def leave_one_out(reward_B: Tensor, num_candidates: int) -> Tensor:
    """R_g minus the mean of the other scorable answers to its query; (B,).

    An answer alone gets 0, as do answers that are all worth the same; NaN stays out and gets 0.
    """
    centered = against_group(reward_B, num_candidates)
    others = (~centered.isnan()).sum(1, keepdim=True) - 1
    return (centered.nan_to_num(0.0) * (others + 1) / others.clamp(min=1)).reshape(-1)


class RlooCredit:
    """Advantages against the mean of the other answers; no value target.

    Args:
        c1: scale of the reward.
    """

    uses_values, compares = False, True

    def __init__(self, c1: float = 1.0) -> None:
        self.c1 = c1

    def __call__(self, rollout: Rollout, reward_B: Tensor, summands: Mapping[str, Tensor] | None = None) -> Rollout:
        """Advantages; an answer that nothing could score (NaN) leaves the mask and moves nothing."""
        reward_B, mask = scorable(rollout, reward_B)
        paid = self.c1 * reward_B - (rollout.penalty_BT * mask).sum(1)
        advantages = leave_one_out(paid, rollout.num_candidates)[:, None]
        return rollout.updated(
            mask_BT=mask,
            advantages_BT=advantages * mask,
            returns_BT=rollout.values_BT * mask,
            reward_B=reward_B.nan_to_num(0.0),
        )
