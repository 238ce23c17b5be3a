"""States of a model: the rollout context, and other weights in place for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def base_model(model: Any) -> Any:
    """The transformers model under a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def uses_checkpointing(model: nn.Module) -> bool:
    """Whether gradient checkpointing is active, which drops the key/value cache."""
    return model.training and any(getattr(m, "gradient_checkpointing", False) for m in model.modules())


@contextmanager
def generating(module: nn.Module) -> Iterator[None]:
    """The rollout context: eval mode, no dropout, no gradient checkpointing; restores all flags."""
    modes = [(m, m.training) for m in module.modules()]
    flags = [(m, m.gradient_checkpointing) for m in module.modules() if hasattr(m, "gradient_checkpointing")]
    try:
        module.eval()
        for m, _ in flags:
            m.gradient_checkpointing = False  # type: ignore[assignment]
        yield
    finally:
        for m, training in modes:
            m.training = training
        for m, on in flags:
            m.gradient_checkpointing = on


def check_unmerged(module: nn.Module) -> None:
    """Raises RuntimeError: an adapter is merged, see `umed.models.merging`: which adapter is active has no effect."""
    if any(getattr(m, "merged_adapters", None) for m in module.modules()):
        raise RuntimeError("an adapter is merged into its layers: leave `merged` first")


def trained_weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of every trained weight: with an adapter, of the adapter alone."""
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


@contextmanager
def with_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the module has earlier `trained_weights`: a reference policy without a second base model.

    Raises:
        RuntimeError: an adapter is merged at the moment: its weights would be replaced without effect.
    """
    check_unmerged(module)
    current = {n: p.data for n, p in module.named_parameters() if n in weights}
    try:
        for n, p in module.named_parameters():
            if n in weights:
                p.data = weights[n].to(p.data, non_blocking=True)
        yield
    finally:
        for n, p in module.named_parameters():
            if n in current:
                p.data = current[n]
