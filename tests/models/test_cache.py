"""The cache with room holds what the growing one would, also when rows end; gradients do not depend on an order."""

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache

from umed.chat import Prompt
from umed.models import cache as cache_module
from umed.models import packed
from umed.models.cache import RoomyLayer, expand, make_room
from umed.models.policy import Policy


def filled(length: int) -> DynamicCache:
    torch.manual_seed(0)
    cache = DynamicCache()
    for layer in range(2):
        cache.update(torch.randn(3, 2, length, 4), torch.randn(3, 2, length, 4), layer)
    return cache


def test_it_holds_what_a_growing_cache_holds() -> None:
    growing, read = filled(5), filled(5)
    rows = torch.arange(3).repeat_interleave(2)
    roomy = make_room(read, 3, 2, 4, torch.device("cpu"), keep=True)
    growing.reorder_cache(rows)  # type: ignore[arg-type]
    assert all(isinstance(layer, RoomyLayer) for layer in roomy.layers)
    for step, picked in enumerate(([0, 1, 2, 4, 5], [0, 2, 3], [1])):
        kept = torch.tensor(picked)
        growing.batch_select_indices(kept)
        roomy.reorder_cache(kept)  # type: ignore[arg-type]
        new = torch.randn(2, len(picked), 2, 1, 4)
        for layer in range(2):
            for ours, theirs in zip(roomy.update(*new, layer), growing.update(*new, layer), strict=True):
                assert torch.equal(ours, theirs)
        assert roomy.get_seq_length() == growing.get_seq_length() == 6 + step
    for layer, whole in zip(read.layers, filled(5).layers, strict=True):  # it was kept
        assert torch.equal(layer.keys, whole.keys) and torch.equal(layer.values, whole.values)


def test_a_cache_that_is_not_kept_exists_once_and_one_layer_more() -> None:
    """Layers are replaced one after another: what a layer held is free before the next one is widened."""
    cache = filled(5)
    held = [weakref.ref(layer.keys) for layer in cache.layers]
    alive: list[int] = []

    def watch(*args: Any) -> Any:
        alive.append(sum(ref() is not None for ref in held))
        return widen(*args)

    widen = cache_module._widen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "_widen", watch)
        make_room(cache, 3, 2, 4, torch.device("cpu"))
    assert alive == [2, 2, 1, 1]  # keys and values of each layer


def test_expansion_repeats_rows_and_its_gradient_is_the_sum_over_the_copies() -> None:
    cache, leaves = filled(5), []
    for layer in cache.layers:
        leaves += [layer.keys.requires_grad_(), layer.values.requires_grad_()]
    before = [leaf.detach().clone() for leaf in leaves]
    expand(cache, 3, 2, torch.device("cpu"))
    rows = torch.tensor([0, 0, 1, 1, 2, 2])
    wide = [t for layer in cache.layers for t in (layer.keys, layer.values)]
    assert all(torch.equal(t, b[rows]) for t, b in zip(wide, before, strict=True))
    factors = torch.arange(1.0, 7.0)[:, None, None, None]
    for leaf, gradient in zip(leaves, torch.autograd.grad(sum((t * factors).sum() for t in wide), leaves), strict=True):
        assert torch.equal(gradient, torch.tensor([3.0, 7.0, 11.0])[:, None, None, None].expand_as(leaf))


class ByIndex(TorchDispatchMode):
    """Fails where several numbers that are not 0 are added to one place by index: on a GPU in any order."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function)
        if "index_add" in name or "scatter_add" in name:
            self.check(name, args[3] != 0, args[2], args[1], args[0])
        elif "index_put" in name and len(args) > 3 and args[3]:
            marks = torch.zeros_like(args[0]).index_put(args[1], (args[2] != 0).to(args[0]), accumulate=True)
            assert marks.max() <= 1, name
        return function(*args, **(kwargs or {}))

    def check(self, name: str, counts: Tensor, index: Tensor, dim: int, into: Tensor) -> None:
        marks = torch.zeros(into.shape)
        shape = [1] * counts.ndim
        shape[dim] = -1
        index = index if "scatter" in name else index.view(shape).expand_as(counts)
        assert marks.scatter_add(dim, index, counts.float()).max() <= 1, name


@pytest.mark.parametrize("adapter", [{"r": 2}, None], ids=["adapter", "whole"])
def test_no_gradient_is_added_up_by_index(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    adapter: dict | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed, "is_on_cpu", lambda core: False)  # a GPU's pass, where the order would matter
    pi, ids = policy(adapter=adapter), torch.full((4, 3), 60)
    mask = torch.arange(3) < torch.tensor([3, 2, 1, 3])[:, None]
    rows = None if pi.backbone.no_attention else torch.tensor([[1, 2], [2, -1], [-1, -1], [3, -1]])
    said = pi.score(make_prompts(2), ids, mask, rows)
    loss = said.logp_BT.sum() + said.entropy_BT.sum() + (said.values_BT - 1).square().sum()
    with ByIndex():
        (loss + said.attention_BNP.square().sum()).backward()
    with pytest.raises(AssertionError, match="index_add"), ByIndex():
        torch.ones(2, 3, requires_grad=True).index_select(0, torch.tensor([0, 0])).sum().backward()
