"""The cache with room holds what the growing one would, also when rows end."""

import torch
from transformers import DynamicCache

from umed.models.cache import RoomyLayer, make_room


def filled(length: int) -> DynamicCache:
    torch.manual_seed(0)
    cache = DynamicCache()
    for layer in range(2):
        cache.update(torch.randn(3, 2, length, 4), torch.randn(3, 2, length, 4), layer)
    return cache


def test_it_holds_what_a_growing_cache_holds() -> None:
    growing, roomy = filled(5), filled(5)
    make_room(roomy, 4)
    assert all(isinstance(layer, RoomyLayer) for layer in roomy.layers)
    for step, rows in enumerate(([0, 1, 2], [0, 2], [1])):
        kept = torch.tensor(rows)
        growing.batch_select_indices(kept)
        roomy.reorder_cache(kept)
        new = torch.randn(2, len(rows), 2, 1, 4)
        for layer in range(2):
            for ours, theirs in zip(roomy.update(*new, layer), growing.update(*new, layer), strict=True):
                assert torch.equal(ours, theirs)
        assert roomy.get_seq_length() == growing.get_seq_length() == 6 + step
