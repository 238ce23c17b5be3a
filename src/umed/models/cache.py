"""Key/value caches: all positions kept, prompts' rows repeated for their answers, room for what is decoded."""

from copy import copy, deepcopy
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class RoomyLayer(DynamicLayer):
    """A layer with free positions behind: decoding writes into it instead of copying it; without gradients only.

    Args:
        filled: the layer of Q prompts; it keeps its own tensors.
        num_candidates: G, rows for each prompt's row.
        room: free positions.
    """

    def __init__(self, filled: DynamicLayer, num_candidates: int, room: int) -> None:
        super().__init__()
        keys, values = filled.keys, filled.values
        assert keys is not None and values is not None
        self.device, self.is_initialized = keys.device, True
        self.length = keys.shape[-2]
        self.whole = _widen(keys, num_candidates, room), _widen(values, num_candidates, room)
        self._update_views()

    def _update_views(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = keys, values = tuple(t[:, :, : self.length] for t in self.whole)
        return keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append; (B, heads, S, size) each."""
        start, self.length = self.length, self.length + key_states.shape[-2]
        for whole, new in zip(self.whole, (key_states, value_states), strict=True):
            whole[:, :, start : self.length] = new
        return self._update_views()

    def reorder_cache(self, beam_idx: Tensor) -> None:  # type: ignore[override]
        """Keep these rows."""
        self.whole = self.whole[0][beam_idx], self.whole[1][beam_idx]
        self._update_views()


def _widen(filled: Tensor, num_candidates: int, room: int) -> Tensor:
    queries, heads, length, size = filled.shape
    whole = filled.new_empty(queries, num_candidates, heads, length + room, size)
    whole[..., :length, :] = filled[:, None]
    return whole.flatten(0, 1)


def whole_cache(config: Any) -> DynamicCache:
    """An empty cache in which every attention layer keeps all positions.

    A sliding layer that drops positions could neither give its attention on the picture nor be cropped; the mask keeps
    its window.
    """
    cache = DynamicCache(config=config)
    cache.layers = [DynamicLayer() if isinstance(layer, DynamicSlidingWindowLayer) else layer for layer in cache.layers]
    return cache


def expand(cache: DynamicCache, queries: int, num_candidates: int, device: torch.device) -> None:
    """Repeat each query's row `num_candidates` times, its copies adjacent; differentiable in attention layers.

    There the gradient is a sum over the copies. That of an index would be added up in any order on a GPU.
    """
    if num_candidates == 1:
        return
    rows: Any = torch.arange(queries, device=device).repeat_interleave(num_candidates)
    for layer in cache.layers:
        if type(layer) is DynamicLayer:
            layer.batch_repeat_interleave(num_candidates)
        else:  # the states of linear attention are written in place, so without gradients anyway
            layer.reorder_cache(rows)


def make_room(
    cache: DynamicCache, queries: int, num_candidates: int, room: int, device: torch.device, keep: bool = False
) -> DynamicCache:
    """Rows for every answer and room for `room` more positions, layer by layer: one layer exists twice at a time.

    Args:
        keep: `cache` stays as it is; the result is another one.
    """
    rows: Any = torch.arange(queries, device=device).repeat_interleave(num_candidates)
    wide = copy(cache)
    wide.layers = list(cache.layers) if keep else cache.layers
    for place, layer in enumerate(wide.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            wide.layers[place] = RoomyLayer(layer, num_candidates, room)
        else:
            wide.layers[place] = deepcopy(layer) if keep else layer
            wide.layers[place].reorder_cache(rows)
    return wide
