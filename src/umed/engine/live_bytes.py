"""Memory of passes on the meta device, by the code that trains and samples: what a real device would hold.

Weights and activations are meta tensors, which have shapes and no data. Token ids, masks and positions are real and on
the CPU, since code branches on them.
"""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

_aten: Any = torch.ops.aten
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that are alive: those held from the start, and those that operations make.

    Inside, an operation on meta tensors takes real ones too. One on real tensors alone has a real result, whatever
    device it is asked for. New floating-point numbers have no data, new whole numbers have.

    Args:
        held: tensors that are there from the start.
    """

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}
        for tensor in held:
            self._see(tensor)

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += self._sizes[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not tensors and "device" in kwargs:
            new = func(*args, **{**kwargs, "device": torch.device("meta")})
            if new.is_floating_point():
                self._see(new)
                return new
        if not any(t.is_meta for t in tensors):
            if kwargs.get("device") is not None:
                kwargs = {**kwargs, "device": torch.device("cpu")}
        else:
            if func in _INDEXED:
                args = (args[0], _as_numbers(args[1]), *args[2:])
            if not all(t.is_meta for t in tensors):
                args, kwargs = tree_map_only(Tensor, _without_data, (args, kwargs))
        out = func(*args, **kwargs)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return out


def _without_data(tensor: Tensor) -> Tensor:
    if tensor.is_meta:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _as_numbers(index: Iterable[Tensor | None]) -> list[Tensor | None]:
    """An index whose masks are numbers of places, so that sizes are known; a mask without data picks every place."""
    numbers: list[Tensor | None] = []
    for one in index:
        if one is None or one.dtype != torch.bool:
            numbers.append(one)
        else:
            numbers += (torch.ones(one.shape, dtype=torch.bool) if one.is_meta else one).nonzero().unbind(1)
    return numbers
