"""Picture features: encoded once per query while nothing that makes them is trained, and used by every later pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling


def is_frozen(model: Any, tower: Sequence[str]) -> bool:
    """Whether no weight between pixels and image tokens is trained."""
    parts = [getattr(model, name) for name in tower]
    return not any(
        p.requires_grad for part in parts for p in (part.parameters() if isinstance(part, nn.Module) else [part])
    )


@torch.no_grad()
def compute_features(model: Any, inputs: dict[str, Tensor]) -> Any:
    """The features of one prompt's picture, of a model in eval mode."""
    accepted = signature(model.get_image_features).parameters
    out = model.get_image_features(**{k: v for k, v in inputs.items() if k in accepted}, return_dict=True)
    features: Any = BaseModelOutputWithPooling(pooler_output=out.pooler_output)
    if getattr(out, "deepstack_features", None) is not None:
        features.deepstack_features = out.deepstack_features
    return features


def concatenate_features(each: Sequence[Any]) -> Any:
    """The features of several prompts as the model would have computed them together."""
    out: Any = BaseModelOutputWithPooling(pooler_output=_concatenate([e.pooler_output for e in each]))
    if hasattr(each[0], "deepstack_features"):
        layers = zip(*(e.deepstack_features for e in each), strict=True)
        out.deepstack_features = [_concatenate(layer) for layer in layers]
    return out


def _concatenate(parts: Sequence[Any]) -> Any:
    """One tensor for all pictures, or a list with one per picture, as the family has it."""
    return torch.cat(list(parts)) if isinstance(parts[0], Tensor) else [t for part in parts for t in part]


@contextmanager
def given_features(model: Any, features: Any) -> Iterator[None]:
    """Inside, the model uses these features instead of encoding pixels."""
    model.get_image_features = lambda *args, **kwargs: features
    try:
        yield
    finally:
        del model.get_image_features
