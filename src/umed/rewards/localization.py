"""Abnormal Localization Reward: equation (5), IoU of predicted and true boxes."""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from umed.boxes import MATCHES, Box
from umed.errors import check_choice
from umed.rewards.base import Reward
from umed.rewards.box_shapes import SHAPES
from umed.rollout import Rollout


class LocalizationReward(Reward):
    """r_loc; 0 for an answer without a readable box, which is counted as `unparsed` (reading R13).

    On a picture known to be normal it is 1 for an answer that writes no box, and 0 for any other.

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
        values = torch.tensor([self.score(p, t) for p, t in pairs])
        aimed = [k for k, (p, t) in enumerate(pairs) if p and t]
        if self.shape == "iou" and aimed and not values[aimed].any():
            self.warn()
        return values

    def score(self, predicted: Sequence[Box] | None, true: Sequence[Box]) -> float:
        """Of one answer; `predicted` is None where no box could be read."""
        if not true:
            return float(predicted is not None and not predicted)
        return self.compare(predicted, true) if predicted else 0.0

    def warn(self) -> None:
        """Say once that all boxes of a batch miss; where none can be read, another shape would not help."""
        if not self.warned:
            self.warned = True
            tqdm.write(
                "reward.parts.localization: no box of this batch overlaps a true one, so the IoU is 0 for every answer "
                "and teaches nothing; reward.parts.localization.shape=giou also pays for boxes that come near",
                file=sys.stderr,
            )
