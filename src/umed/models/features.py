"""Picture features: computed once while nothing that makes them is trained, and used by every later pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from umed.chat import Prompt

MOST_VALUES = 2**23  # pixel values of one call, about 14,000 patches of 14 x 14 px
# Below, a CPU computes a row of a matrix product another way than among many rows, and the last bits differ.
FEWEST_TOKENS = 16
LONG_SUM = 1000  # terms that several threads share out, by the number of rows


@dataclass(frozen=True)
class PictureFeatures:
    """What a tower gives for one picture.

    Args:
        tokens: takes the place of the image tokens.
        layers: the same for each layer of the language model that adds features of its own (deepstack).
        is_listed: whether the family has a list with one tensor per picture instead of one tensor for all.
        queries: attention of query tokens to patches (1, I, P), None where the patches are the image tokens.
    """

    tokens: Tensor
    layers: tuple[Tensor, ...]
    is_listed: bool
    queries: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.tokens, *self.layers, *([] if self.queries is None else [self.queries]))

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.tensors)

    def replaced(self, tensors: Sequence[Tensor]) -> Self:
        end = 1 + len(self.layers)
        queries = None if self.queries is None else tensors[end]
        return type(self)(tensors[0], tuple(tensors[1:end]), self.is_listed, queries)


def tower_parts(model: Any, tower: Sequence[str]) -> dict[str, Any]:
    """The modules and weights between pixels and image tokens, by name."""
    return {name: getattr(model, name) for name in tower}


def is_frozen(model: Any, tower: Sequence[str]) -> bool:
    """Whether no weight between pixels and image tokens is trained."""
    parts = tower_parts(model, tower).values()
    return not any(
        p.requires_grad for part in parts for p in (part.parameters() if isinstance(part, nn.Module) else [part])
    )


@torch.no_grad()
def compute_features(model: Any, inputs: dict[str, Tensor]) -> Any:
    """The features of all pictures in `inputs`, of a model in eval mode, as the family's model gives them."""
    accepted = signature(model.get_image_features).parameters
    out = model.get_image_features(**{k: v for k, v in inputs.items() if k in accepted}, return_dict=True)
    features: Any = BaseModelOutputWithPooling(pooler_output=out.pooler_output)
    for name in ("deepstack_features", "query_attentions"):
        if getattr(out, name, None) is not None:
            setattr(features, name, getattr(out, name))
    return features


def split_features(features: Any, prompts: Sequence[Prompt]) -> list[PictureFeatures]:
    """The features of each prompt's picture, of what `compute_features` gave for all of them."""
    is_listed = not isinstance(features.pooler_output, Tensor)
    rows = [len(p.inputs["pixel_values"]) for p in prompts]

    def split(tensors: Any) -> Sequence[Tensor]:
        return tensors if is_listed else tensors.split(rows)

    layers = [split(layer) for layer in getattr(features, "deepstack_features", [])]
    pictures = zip(prompts, split(features.pooler_output), *layers, strict=True)
    each = [PictureFeatures(tokens, tuple(added), is_listed) for _, tokens, *added in pictures]
    if (queries := getattr(features, "query_attentions", None)) is not None:
        each = [replace(one, queries=of_one) for one, of_one in zip(each, queries.split(rows), strict=True)]
    return each


def concatenate_features(each: Sequence[PictureFeatures]) -> Any:
    """The features of several prompts as the model would have computed them together."""

    def join(tensors: Sequence[Tensor]) -> Any:
        return list(tensors) if each[0].is_listed else torch.cat(list(tensors))

    out: Any = BaseModelOutputWithPooling(pooler_output=join([e.tokens for e in each]))
    if each[0].layers:
        out.deepstack_features = [join(layer) for layer in zip(*(e.layers for e in each), strict=True)]
    if each[0].queries is not None:
        out.query_attentions = torch.cat([e.queries for e in each if e.queries is not None])
    return out


def copy_to_cpu(each: Sequence[PictureFeatures]) -> list[PictureFeatures]:
    """Copies that share no memory, in one transfer; where their dtypes differ, the widest loses nothing."""
    tensors = [t for e in each for t in e.tensors]
    flat = torch.cat([t.flatten() for t in tensors]).cpu().split([t.numel() for t in tensors])
    copies = iter([f.to(t.dtype, copy=True).view(t.shape) for f, t in zip(flat, tensors, strict=True)])
    return [e.replaced([next(copies) for _ in e.tensors]) for e in each]


def group_pictures(prompts: Sequence[Prompt], together: bool) -> Iterator[list[Prompt]]:
    """Prompts whose pictures are encoded in one call: as many as `MOST_VALUES` lets in, or one."""
    group: list[Prompt] = []
    values = 0
    for prompt in prompts:
        size = prompt.inputs["pixel_values"].numel()
        if group and (values + size > MOST_VALUES or not together):
            yield group
            group, values = [], 0
        group.append(prompt)
        values += size
    yield group


def repeats(group: Sequence[Prompt]) -> int:
    """How often these pictures stand in one call, so that it has `FEWEST_TOKENS`."""
    return -(-FEWEST_TOKENS // sum(p.view.tokens for p in group))


def can_share_calls(model: Any, tower: Sequence[str], device: torch.device) -> bool:
    """Whether a picture's features do not depend on the pictures beside it, bit for bit, on a CPU."""
    if device.type != "cpu" or torch.get_num_threads() == 1:
        return True
    parts = [part for part in tower_parts(model, tower).values() if isinstance(part, nn.Module)]
    return all(m.in_features < LONG_SUM for part in parts for m in part.modules() if isinstance(m, nn.Linear))


@contextmanager
def given_features(model: Any, features: Any) -> Iterator[None]:
    """Inside, the model uses these features instead of encoding pixels."""
    model.get_image_features = lambda *args, **kwargs: features
    try:
        yield
    finally:
        del model.get_image_features


def as_bytes(tensor: Tensor) -> Any:
    """The tensor's bytes, whatever its dtype; none of one on the meta device."""
    if tensor.is_meta:
        return b""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
