"""A critic that is a model of its own."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from umed.chat import Prompt
from umed.models.contexts import base_model
from umed.models.critics.base import Critic, read_states
from umed.models.reader import Reader
from umed.models.weights import check_tensors, read_tensors, shapes_of

WEIGHTS = "critic.safetensors"


class SeparateCritic(Critic):
    """A second model with a head, started from the policy's weights; twice the memory."""

    def __init__(self, model: Any, reader: Reader) -> None:
        super().__init__(model, reader)
        self.model = deepcopy(model)
        core = base_model(self.model)
        trained = {n for n, p in self.model.named_parameters() if p.requires_grad}
        for name in reader.backbone.tower:
            getattr(core.model, name).requires_grad_(False)
        self._saved = trained  # the tower too where the policy trains its own: a later policy has another one
        self._reader = [Reader(core, reader.processor, reader.backbone, reader.feature_store)]

    def states(self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, state_BTH: Tensor) -> Tensor:
        return read_states(self._reader[0], prompts, ids_BT, mask_BT)

    def body(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def save(self, folder: Path) -> None:
        weights = {n: p.detach().cpu().contiguous() for n, p in self.model.named_parameters() if n in self._saved}
        save_file(weights, folder / WEIGHTS)

    def load(self, folder: Path) -> None:
        weights = read_tensors(folder / WEIGHTS)
        expected = {n: tuple(p.shape) for n, p in self.model.named_parameters() if n in self._saved}
        check_tensors(f"{folder / WEIGHTS}: not of this critic", expected, shapes_of(weights))
        self.model.load_state_dict(weights, strict=False)  # what is frozen is not in the file
