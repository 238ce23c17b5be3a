"""LoRA merged into its layers for a while: decoding then runs one matrix product a layer instead of three."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from umed.errors import check_choice


def check_merge(merge: str | bool) -> str:
    """The choice. Raises InputError: it is none."""
    return check_choice("engine.merge", str(merge).lower(), "auto", "true", "false")


@contextmanager
def merged(model: nn.Module, merge: str | bool = "auto") -> Iterator[None]:
    """Inside, the layers of the active adapter compute with merged weights; for passes without dropout or gradients.

    The merged weights stand beside the layers' own, which stay as they are and are back in place afterwards, bit for
    bit: until then the weights of these layers take twice the memory. A layer that cannot be merged (quantized, of
    another kind than linear, DoRA, an adapter with a bias) computes as before, and so does a model without an adapter.

    Args:
        merge: `true`, `false`, or `auto`: where only the order of sums changes, in weights and products of 32 bits.
            16 bits round the small changes of an adapter away, so answers are sampled from a slightly other policy.

    Raises:
        InputError: another choice.
    """
    choice = check_merge(merge)
    replaced: list[tuple[Any, nn.Parameter]] = []
    with torch.no_grad():
        try:
            for layer in _layers(model, choice):
                base = layer.get_base_layer()
                weight = base.weight
                replaced.append((layer, weight))
                names = [name for name in layer.active_adapters if name in layer.lora_A]
                base.weight = nn.Parameter(_sum(layer, weight, names), requires_grad=False)
                layer.merged_adapters.extend(names)  # peft then leaves the adapter's own products out
            yield
        finally:
            for layer, weight in replaced:
                layer.get_base_layer().weight = weight
                layer.merged_adapters.clear()


def _sum(layer: Any, weight: Tensor, names: list[str]) -> Tensor:
    total = weight.clone()
    for name in names:
        total += layer.get_delta_weight(name).to(weight.dtype)
    return total


def _layers(model: nn.Module, choice: str) -> list[Any]:
    """The layers to merge."""
    if choice == "false" or not hasattr(model, "peft_config"):
        return []
    from peft.tuners.lora import Linear  # a second, which models without an adapter do not need

    layers = [m for m in model.modules() if isinstance(m, Linear) and can_merge(m)]
    return layers if choice == "true" else [m for m in layers if is_exact(m)]


def can_merge(layer: Any) -> bool:
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    return (
        bool(names)
        and type(layer.get_base_layer()) is nn.Linear
        and not layer.merged
        and not layer.disable_adapters
        and not any(name in layer.lora_variant or layer.lora_bias[name] for name in names)
    )


def is_exact(layer: Any) -> bool:
    """Whether weights and products have 32 bits."""
    weight = layer.get_base_layer().weight
    device = weight.device.type
    is_rounded = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return weight.dtype == torch.float32 and not is_rounded
