"""Group baseline without a critic (reading R11 `group`): the answers to one query judge each other."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from umed.errors import chosen
from umed.rewards.total import nan_total
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
    """Advantages against the other answers to the query; no value target.

    Args:
        c1: scale of the reward.
        scale: divide by the group's spread, as GRPO does.
        scope: reading R11b. `answer`: every token shares the summed reward's advantage, as in the paper; `span`: the
            boxes' tokens get that of the localization reward, the name's that of the other rewards, the rest the sum's.
    """

    uses_values = False

    def __init__(self, c1: float = 1.0, scale: bool = True, scope: Literal["answer", "span"] = "answer") -> None:
        chosen("credit.scope", scope, "answer", "span")
        self.c1, self.scale, self.scope = c1, scale, scope

    def __call__(self, rollout: Rollout, reward_B: Tensor, summands: Mapping[str, Tensor] | None = None) -> Rollout:
        """Advantages; an answer that nothing could score (NaN) leaves the mask and moves nothing."""
        device, g = rollout.values_BT.device, rollout.num_candidates
        reward_B = reward_B.to(device)
        mask = rollout.mask_BT & ~reward_B.isnan()[:, None]
        advantages = group_advantage(reward_B, g, self.scale)[:, None].expand(mask.shape)
        if self.scope == "span" and summands:
            box = [v for n, v in summands.items() if n == "localization"]
            name = [v for n, v in summands.items() if n != "localization"]
            for judged, span in ((box, rollout.box_span_BT), (name, rollout.name_span_BT)):
                if judged:
                    own = group_advantage(nan_total(judged, g).to(device), g, self.scale)[:, None]
                    advantages = torch.where(span, own, advantages)
        return rollout.updated(
            mask_BT=mask,
            advantages_BT=self.c1 * advantages * mask,
            returns_BT=rollout.values_BT * mask,
            reward_B=reward_B.nan_to_num(0.0),
        )
