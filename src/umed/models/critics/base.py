"""`Critic`: V(s_t; phi), a value head on hidden states that have seen the picture.

The state s_t is the hidden state at position t-1, before token t is read in, see `Reader`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from umed.chat import Prompt
from umed.errors import InputError
from umed.models.reader import Reader


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


class Critic(nn.Module, ABC):
    """A head, and the states it reads; a subclass decides how much of the policy's body it shares.

    A subclass implements `states`, and `body`, `save` and `load` where it trains more than the head.

    Args:
        model: the policy's model, a PEFT model where it has an adapter.
        reader: reads prompts and answers with that model.
    """

    def __init__(self, model: Any, reader: Reader) -> None:
        super().__init__()
        self.head = ValueHead(reader.core.config.get_text_config().hidden_size)

    @abstractmethod
    def states(self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, state_BTH: Tensor) -> Tensor:
        """(B, T, H); `state_BTH` are the policy's own states of these answers."""

    def forward(self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, state_BTH: Tensor) -> Tensor:
        """V(s_t), (B, T) float32."""
        return self.head(self.states(prompts, ids_BT, mask_BT, state_BTH))

    def body(self) -> list[nn.Parameter]:
        """Trained weights besides the head."""
        return []

    def save(self, folder: Path) -> None:
        """Write what `load` needs besides the head."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Raises InputError: it is not there, or of another critic."""


def read_states(reader: Reader, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The states of these answers as `reader` reads them now, (B, T, H)."""
    return reader.read(prompts, ids_BT, mask_BT)[:, :-1]


def check_critic(factory: Callable[..., Any]) -> Callable[..., Critic]:
    """The factory of a critic, refused where its class lacks what `Critic` asks; nothing is built.

    Raises:
        InputError: naming what is missing.
    """
    made = factory.func if isinstance(factory, partial) else factory
    if not (isinstance(made, type) and issubclass(made, Critic)):
        raise InputError(f"critic ({getattr(made, '__name__', made)}): derive it from umed.models.critics.base.Critic")
    if missing := sorted(made.__abstractmethods__):
        raise InputError(f"critic ({made.__module__}.{made.__qualname__}) lacks {', '.join(missing)}")
    return factory
