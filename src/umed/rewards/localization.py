"""Abnormal Localization Reward: equation (5), IoU of predicted and true boxes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from umed.boxes import MATCHES, Box
from umed.errors import check_choice
from umed.rewards.base import Reward
from umed.rollout import Rollout


class LocalizationReward(Reward):
    """r_loc; 0 for an answer without a readable box, which is counted as `unparsed` (reading R13).

    On a picture known to be normal it is 1 for an answer that writes no box, and 0 for any other.

    Args:
        match: reading R12, how several boxes are compared: `union`, `matched`, `best` or `first`.
        weight: factor in the sum of equation (13).
    """

    needs = frozenset({"boxes"})
    span = "boxes"

    def __init__(self, match: str = "union", weight: float = 1.0) -> None:
        self.iou = MATCHES[check_choice("reward.parts.localization.match", match, *MATCHES)]
        self.weight = weight

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) float32 in [0, 1]."""
        true = [rollout.records[q].boxes for q in rollout.group_B.tolist()]
        return torch.tensor([self.score(p, t) for p, t in zip(rollout.boxes, true, strict=False)])

    def score(self, predicted: Sequence[Box] | None, true: Sequence[Box]) -> float:
        """Of one answer; `predicted` is None where no box could be read."""
        if not true:
            return float(predicted is not None and not predicted)
        return self.iou(predicted, true) if predicted else 0.0
