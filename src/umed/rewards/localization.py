"""Abnormal Localization Reward: equation (5), IoU of said and true boxes."""

import torch
from torch import Tensor

from umed.boxes import MATCHES
from umed.errors import check_choice
from umed.rollout import Rollout


class LocalizationReward:
    """r_loc. An answer without a readable box earns 0 and is counted as `unparsed` (reading R13).

    Args:
        match: reading R12, how several boxes meet: `union`, `matched`, `best` or `first`.
        weight: factor in the sum of equation (13).
    """

    name = "localization"
    needs = frozenset({"boxes"})
    max_normalized = True

    def __init__(self, match: str = "union", weight: float = 1.0) -> None:
        self.iou = MATCHES[check_choice("reward.parts.localization.match", match, *MATCHES)]
        self.weight = weight

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) float32 in [0, 1]."""
        true = [rollout.records[q].boxes for q in rollout.group_B.tolist()]
        return torch.tensor([self.iou(s, t) if s else 0.0 for s, t in zip(rollout.boxes, true, strict=False)])
