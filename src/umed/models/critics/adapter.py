"""A critic with a LoRA adapter of its own on the policy's base model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from umed.chat import Prompt
from umed.errors import InputError, check_positive
from umed.models.adapters import read_adapter, set_tensors
from umed.models.contexts import check_unmerged
from umed.models.critics.base import Critic, read_states
from umed.models.features import is_frozen
from umed.models.reader import Reader

ADAPTER = "critic"


class AdapterCritic(Critic):
    """A second adapter and a head; one more pass.

    Args:
        r, lora_alpha: of the adapter; its targets are those of the policy's.

    Raises:
        InputError: the policy trains more than an adapter of its language model, or uses gradient checkpointing.
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
        self._policy: list[Any] = [model, reader]  # in a list: not a second registration of the same weights
        self._add(LoraConfig(r=r, lora_alpha=lora_alpha, target_modules=policy.target_modules))

    def _add(self, config: LoraConfig) -> None:
        self._policy[0].add_adapter(ADAPTER, config)
        for p in self.body():
            p.requires_grad_(True)

    def states(self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, state_BTH: Tensor) -> Tensor:
        model, reader = self._policy
        with active_adapter(model, ADAPTER):
            return read_states(reader, prompts, ids_BT, mask_BT)

    def body(self) -> list[nn.Parameter]:
        return [p for n, p in self._policy[0].named_parameters() if f".{ADAPTER}." in n]

    def save(self, folder: Path) -> None:
        self._policy[0].save_pretrained(folder, selected_adapters=[ADAPTER])

    def load(self, folder: Path) -> None:
        model, (config, tensors) = self._policy[0], read_adapter(folder / ADAPTER)
        model.delete_adapter(ADAPTER)
        self._add(config)
        set_tensors(model, ADAPTER, tensors, f"{folder / ADAPTER}: not of this critic")


@contextmanager
def active_adapter(model: Any, adapter: str) -> Iterator[None]:
    """Use another adapter for a while; which weights are trained stays as it is."""
    check_unmerged(model)
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
