"""A reward of the text alone, the same for every contender."""

import torch
from torch import Tensor

from umed.rewards.base import Reward
from umed.rollout import Rollout


def score_text(text: str) -> float:
    """In [0, 1], deterministic, and different for almost any two answers."""
    return sum(place * ord(letter) for place, letter in enumerate(text, 1)) % 997 / 996


class TextReward(Reward):
    """`score_text` of the reply as it was written."""

    max_normalized = False
    gold_ties = True

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) float32."""
        return torch.tensor([score_text(text) for text in rollout.raw])
