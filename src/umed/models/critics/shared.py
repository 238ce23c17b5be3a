"""The cheapest critic that has seen the picture."""

from collections.abc import Sequence

from torch import Tensor

from umed.chat import Prompt
from umed.models.critics.base import Critic


class SharedCritic(Critic):
    """A head on the policy's own hidden states, detached: the value loss leaves no gradient on the policy."""

    def states(self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, state_BTH: Tensor) -> Tensor:
        return state_BTH.detach()
