"""Group baseline without a critic (reading R11 `group`): the answers to one query judge each other."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from umed.errors import check_choice
from umed.methods.credit.base import Credit, against_group
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


class GroupCredit(Credit):
    """Advantages against the other answers to the query; no value target.

    Args:
        c1: scale of the reward against a KL penalty in it; a division by the spread takes out any other effect.
        scale: divide by the spread of the `group`, as GRPO does, of the `batch`, or by nothing (`none`).
        scope: reading R11b. `answer`: every token shares the summed reward's advantage, as in the paper; `span`: tokens
            of the boxes and of the name get that of the rewards that judge them, the rest the sum's.
    """

    compares = True

    def __init__(
        self,
        c1: float = 1.0,
        scale: Literal["group", "batch", "none"] = "group",
        scope: Literal["answer", "span"] = "answer",
    ) -> None:
        self.c1, self.scale = c1, check_choice("credit.scale", scale, "group", "batch", "none")
        self.by_span = check_choice("credit.scope", scope, "answer", "span") == "span"

    def assign(
        self, rollout: Rollout, reward_B: Tensor, penalty_BT: Tensor, spans: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        penalty = penalty_BT.sum(1)

        def advantage(value_B: Tensor) -> Tensor:
            return group_advantage(self.c1 * value_B - penalty, rollout.num_candidates, self.scale)[:, None]

        advantages = advantage(reward_B).expand(penalty_BT.shape)
        tokens = {"boxes": rollout.box_span_BT, "name": rollout.name_span_BT}
        for span, value in spans.items() if self.by_span else ():
            advantages = torch.where(tokens[span], advantage(value), advantages)
        return advantages, rollout.values_BT
