"""Abnormal Localization Reward: equation (5), IoU of predicted and true boxes."""

import sys

import torch
from torch import Tensor
from tqdm import tqdm

from umed.boxes import MATCHES
from umed.errors import check_choice
from umed.rewards.base import Reward
from umed.rewards.box_shapes import SHAPES
from umed.rollout import Rollout


class LocalizationReward(Reward):
    """r_loc; 0 for an answer without a readable box, which is counted as `unparsed` (reading R13).

    Args:
        match: reading R12, how several boxes are compared: `union`, `matched`, `best` or `first`.
        weight: factor in the sum of equation (13).
        shape: `iou`, the paper's; `giou` or `distance` also tell boxes apart that miss, see `box_shapes.py`.
    """

    needs = frozenset({"boxes"})
    span = "boxes"

    def __init__(self, match: str = "union", weight: float = 1.0, shape: str = "iou") -> None:
        shapes = SHAPES[check_choice("reward.parts.localization.shape", shape, *SHAPES)]
        self.compare = shapes[check_choice("reward.parts.localization.match", match, *MATCHES)]
        self.weight, self.shape, self.warned = weight, shape, False

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) float32 in [0, 1]."""
        true = [rollout.records[q].boxes for q in rollout.group_B.tolist()]
        pairs = list(zip(rollout.boxes, true, strict=False))
        values = torch.tensor([self.compare(p, t) if p else 0.0 for p, t in pairs])
        if self.shape == "iou" and any(p and t for p, t in pairs) and not values.any():
            self.warn()
        return values

    def warn(self) -> None:
        """Say once that all boxes of a batch miss; where none can be read, another shape would not help."""
        if not self.warned:
            self.warned = True
            tqdm.write(
                "reward.parts.localization: no box of this batch overlaps a true one, so the IoU is 0 for every answer "
                "and teaches nothing; reward.parts.localization.shape=giou also pays for boxes that come near",
                file=sys.stderr,
            )
