"""The head of the critic."""

import torch
from torch import Tensor, nn


class ValueHead(nn.Module):
    """A two-layer perceptron in fp32 on hidden states; V is 0 before the first update."""

    def __init__(self, hidden_size: int, width: int = 128) -> None:
        super().__init__()
        last = nn.Linear(width, 1)
        self.layers = nn.Sequential(nn.LayerNorm(hidden_size), nn.Linear(hidden_size, width), nn.GELU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, hidden_BTH: Tensor) -> Tensor:
        """(B, T, H) -> (B, T); in fp32 under autocast too."""
        with torch.autocast(hidden_BTH.device.type, enabled=False):
            return self.layers(hidden_BTH.float()).squeeze(-1)
