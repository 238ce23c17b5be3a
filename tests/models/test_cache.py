"""The cache with room holds what the growing one would, also when rows end."""

import weakref
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from umed.models import cache as cache_module
from umed.models.cache import RoomyLayer, make_room


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
