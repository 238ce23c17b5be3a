"""V(s_t; phi): the critic reads the policy's hidden state, which has seen the picture."""

from torch import Tensor, nn


class ValueHead(nn.Module):
    """A two-layer perceptron in fp32 on a detached hidden state; V is 0 before the first update.

    The hidden state at position t-1 (before token t is read in) is the state s_t, see `Policy.score`.
    """

    def __init__(self, hidden_size: int, width: int = 128) -> None:
        super().__init__()
        last = nn.Linear(width, 1)
        self.layers = nn.Sequential(nn.LayerNorm(hidden_size), nn.Linear(hidden_size, width), nn.GELU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, hidden_BTH: Tensor) -> Tensor:
        """(B, T, H) -> (B, T). Detached: the value loss leaves no gradient on the policy."""
        return self.layers(hidden_BTH.detach().float()).squeeze(-1)
