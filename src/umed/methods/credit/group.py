"""Group baseline without a critic (reading R11 `group`): the answers to one query judge each other."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from umed.errors import check_choice
from umed.methods.credit.base import against_group, scorable
from umed.rewards.total import nan_total
from umed.rollout import Rollout


def group_advantage(reward_B: Tensor, num_candidates: int, scale: str) -> Tensor:
    """R_g minus the mean over the answers to one query, over a population spread; (B,).

    Args:
        scale: the spread within the `group`, or of the rewards of the whole `batch`, or `none`.

    Without spread, or with one scorable answer, it is exactly 0; NaN stays out and gets 0.
    """
    groups = reward_B.view(-1, num_candidates)
    centered = against_group(reward_B, num_candidates).nan_to_num(0.0)
    if scale == "none":
        return centered.reshape(-1)
    off = centered if scale == "group" else (groups - groups.nanmean()).nan_to_num(0.0)
    axes = (1,) if scale == "group" else (0, 1)
    count = (~groups.isnan()).sum(axes, keepdim=True).clamp(min=1)
    spread = (off.square().sum(axes, keepdim=True) / count).sqrt()
    return torch.where(spread > 1e-6, centered / spread.clamp(min=1e-6), torch.zeros_like(centered)).reshape(-1)


class GroupCredit:
    """Advantages against the other answers to the query; no value target.

    Args:
        c1: scale of the reward against a KL penalty in it; a division by the spread takes out any other effect.
        scale: divide by the spread of the `group`, as GRPO does, of the `batch`, or by nothing (`none`).
        scope: reading R11b. `answer`: every token shares the summed reward's advantage, as in the paper; `span`: the
            boxes' tokens get that of the localization reward, the name's that of the other rewards, the rest the sum's.
    """

    uses_values, compares = False, True

    def __init__(
        self,
        c1: float = 1.0,
        scale: Literal["group", "batch", "none"] = "group",
        scope: Literal["answer", "span"] = "answer",
    ) -> None:
        check_choice("credit.scale", scale, "group", "batch", "none")
        check_choice("credit.scope", scope, "answer", "span")
        self.c1, self.scale, self.scope = c1, scale, scope

    def __call__(self, rollout: Rollout, reward_B: Tensor, summands: Mapping[str, Tensor] | None = None) -> Rollout:
        """Advantages; an answer that nothing could score (NaN) leaves the mask and moves nothing."""
        device, g = rollout.values_BT.device, rollout.num_candidates
        reward_B, mask = scorable(rollout, reward_B)
        penalty = (rollout.penalty_BT * mask).sum(1)
        advantages = group_advantage(self.c1 * reward_B - penalty, g, self.scale)[:, None].expand(mask.shape)
        if self.scope == "span" and summands:
            box = [v for n, v in summands.items() if n == "localization"]
            name = [v for n, v in summands.items() if n != "localization"]
            for judged, span in ((box, rollout.box_span_BT), (name, rollout.name_span_BT)):
                if judged:
                    own = group_advantage(self.c1 * nan_total(judged, g).to(device) - penalty, g, self.scale)[:, None]
                    advantages = torch.where(span, own, advantages)
        return rollout.updated(
            mask_BT=mask,
            advantages_BT=advantages * mask,
            returns_BT=rollout.values_BT * mask,
            reward_B=reward_B.nan_to_num(0.0),
        )
