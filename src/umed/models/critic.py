"""V(s_t; phi): the critic has seen the picture; how much of the policy's body it shares is a choice.

The hidden state at position t-1 (before token t is read in) is the state s_t, see `Reader`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from umed.chat import Prompt
from umed.errors import InputError, check_positive
from umed.models.attention import Recorder
from umed.models.contexts import plain
from umed.models.features import is_frozen
from umed.models.reader import Reader
from umed.models.value_head import ValueHead

ADAPTER, WEIGHTS = "critic", "critic.safetensors"


class SharedCritic(nn.Module):
    """A head on the policy's own hidden states, detached: the value loss leaves no gradient on the policy."""

    def __init__(self, model: Any, reader: Reader) -> None:
        super().__init__()
        self.head = ValueHead(reader.core.config.get_text_config().hidden_size)

    def forward(self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, state_BTH: Tensor) -> Tensor:
        """V(s_t), (B, T) fp32; `state_BTH` is what the policy read of these answers."""
        return self.head(state_BTH.detach())

    def body(self) -> list[nn.Parameter]:
        """Trained weights besides the head."""
        return []

    def save(self, folder: Path) -> None:
        """What `load` needs, besides the head."""

    def load(self, folder: Path) -> None:
        """Weights that `save` wrote, if they are there."""


class AdapterCritic(SharedCritic):
    """A LoRA adapter of its own on the policy's base model, and a head; one more pass.

    Args:
        r, lora_alpha: of the adapter; its targets are those of the policy's.
    """

    def __init__(self, model: Any, reader: Reader, r: int = 8, lora_alpha: int = 16) -> None:
        super().__init__(model, reader)
        check_positive("critic.r", r)
        if not isinstance(model, PeftModel):
            raise InputError(
                "critic=adapter needs a policy with an adapter, but model.adapter=null trains every weight: use "
                "critic=shared or critic=separate"
            )
        whole = [n for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n]
        if whole or not is_frozen(reader.core.model, reader.backbone.tower):
            raise InputError(
                "critic=adapter needs a policy that trains an adapter in its language model and nothing else, since "
                "its loss would train the rest too: use critic=shared or critic=separate"
            )
        if any(getattr(m, "gradient_checkpointing", False) for m in model.modules()):
            raise InputError(
                "critic=adapter with gradient checkpointing would be read again with the policy's adapter: set "
                "model.gradient_checkpointing=false or use critic=shared"
            )
        policy: Any = model.peft_config[model.active_adapter]
        model.add_adapter(ADAPTER, LoraConfig(r=r, lora_alpha=lora_alpha, target_modules=policy.target_modules))
        for name, p in model.named_parameters():
            if f".{ADAPTER}." in name:
                p.requires_grad_(True)
        self._others: list[Any] = [model, reader]  # in a list: not a second registration of the same weights

    def forward(self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, state_BTH: Tensor) -> Tensor:
        model, reader = self._others
        with speaking_as(model, ADAPTER):
            return self.head(_states(reader, prompts, ids_BT, mask_BT))

    def body(self) -> list[nn.Parameter]:
        return [p for n, p in self._others[0].named_parameters() if f".{ADAPTER}." in n]

    def save(self, folder: Path) -> None:
        self._others[0].save_pretrained(folder, selected_adapters=[ADAPTER])

    def load(self, folder: Path) -> None:
        model = self._others[0]
        if (folder / ADAPTER).is_dir():
            model.delete_adapter(ADAPTER)
            model.load_adapter(str(folder / ADAPTER), ADAPTER, is_trainable=True)


class SeparateCritic(SharedCritic):
    """A second model with a head, started from the policy's weights as they are then; twice the memory."""

    def __init__(self, model: Any, reader: Reader) -> None:
        super().__init__(model, reader)
        self.model = deepcopy(model)
        core = plain(self.model)
        trained = {n for n, p in self.model.named_parameters() if p.requires_grad}
        for name in reader.backbone.tower:
            getattr(core.model, name).requires_grad_(False)
        self._saved = trained  # the tower too where the policy trains its own: a later policy has another one
        self._reader = [Reader(core, reader.processor, reader.backbone, reader.eyes)]

    def forward(self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, state_BTH: Tensor) -> Tensor:
        return self.head(_states(self._reader[0], prompts, ids_BT, mask_BT))

    def body(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def save(self, folder: Path) -> None:
        weights = {n: p.detach().cpu().contiguous() for n, p in self.model.named_parameters() if n in self._saved}
        save_file(weights, folder / WEIGHTS)

    def load(self, folder: Path) -> None:
        if (folder / WEIGHTS).is_file():
            self.model.load_state_dict(load_file(folder / WEIGHTS), strict=False)


def _states(reader: Reader, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
    none = ids_BT[:, :0]
    return reader.read(prompts, ids_BT, mask_BT, Recorder(none, none, ()), none)[:, :-1]


@contextmanager
def speaking_as(model: Any, adapter: str) -> Iterator[None]:
    """Another adapter in place for a while; which weights are trained stays as it is."""
    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)]
    trained = [(p, p.requires_grad) for p in model.parameters()]
    before = [layer.active_adapters for layer in layers]
    try:
        for layer in layers:
            layer.set_adapter([adapter])
        for p, on in trained:
            p.requires_grad_(on)
        yield
    finally:
        for layer, names in zip(layers, before, strict=True):
            layer.set_adapter(names)
        for p, on in trained:
            p.requires_grad_(on)
