"""What a device's kernels keep for the backward pass, on the meta device, which would choose others by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from umed.models import logprobs, packed

_aten: Any = torch.ops.aten
_LOW = {F.linear, F.conv2d, F.conv3d, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm}


_ON_CPU: list[tuple[Any, str, Any]] = [  # where code asks for the device
    (logprobs, "_blocks", lambda logits: _blocks_on_cpu(logits)),
    (packed, "is_on_cpu", lambda core: True),
]


@contextmanager
def kernels_of(gpu: bool, mixed: torch.dtype | None = None) -> Iterator[None]:
    """Inside, dropout and attention are those of a GPU or of the CPU, and precision may be mixed.

    Args:
        mixed: dtype of matrix products, None = that of the weights.
    """

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if mixed is not None:
            query, key, value = (t.to(mixed) for t in (query, key, value))
        if not gpu:
            bias = _as_bias(attn_mask, query)
            cpu_kernel = _aten._scaled_dot_product_flash_attention_for_cpu
            return cpu_kernel(query, key, value, dropout_p, is_causal, attn_mask=bias, scale=scale)[0]
        return _attention_on_gpu(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)

    enabled, dtype_of = torch.is_autocast_enabled, torch.get_autocast_dtype
    places: list[tuple[Any, str, Any]] = [
        (F, "scaled_dot_product_attention", attention),
        (torch, "autocast", _Autocast),
        (torch, "is_autocast_enabled", lambda *of: mixed is not None if of == ("meta",) else enabled(*of)),
        (torch, "get_autocast_dtype", lambda of: mixed if of == "meta" else dtype_of(of)),
        *([(F, "dropout", _dropout_on_gpu)] if gpu else _ON_CPU),
    ]
    before = [getattr(owner, name) for owner, name, _ in places]
    try:
        for owner, name, replacement in places:
            setattr(owner, name, replacement)
        with MixedPrecision(mixed):
            yield
    finally:
        for (owner, name, _), original in zip(places, before, strict=True):
            setattr(owner, name, original)


class _Autocast(torch.autocast):
    """Accepts the meta device, where it does nothing."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "meta" else device_type, *args, **kwargs)


class MixedPrecision(TorchFunctionMode):
    """Matrix products in another dtype, as autocast, which the meta device does not have.

    A weight is cast for each product, since Lightning's autocast keeps no copies.
    """

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.dtype = dtype

    def __enter__(self) -> Any:
        return super().__enter__() if self.dtype is not None else self

    def __exit__(self, *args: Any) -> None:
        if self.dtype is not None:
            super().__exit__(*args)

    def _cast(self, value: Any) -> Any:
        return value.to(self.dtype) if isinstance(value, Tensor) and value.dtype == torch.float32 else value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _LOW:
            args, kwargs = tuple(map(self._cast, args)), {name: self._cast(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _dropout_on_gpu(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """With a mask of one byte a number; the CPU's is of the input's dtype."""
    return torch.native_dropout(input, p, True)[0] if training and p else input


def _blocks_on_cpu(logits: Tensor) -> list[slice]:
    """The rows of logits that a CPU takes at a time; a GPU takes all."""
    rows = max(1, logprobs.CPU_BLOCK // logits.shape[1])
    return [slice(first, first + rows) for first in range(0, len(logits), rows)]


def _attention_on_gpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Tensor:
    """Flash attention without a mask, the memory-efficient kernel with one: neither keeps the scores."""
    if mask is None and query.dtype != torch.float32:
        return _aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[0]
    if enable_gqa:  # what neither takes
        by_scores = torch._scaled_dot_product_attention_math
        return by_scores(query, key, value, mask, dropout_p, is_causal, scale=scale, enable_gqa=True)[0]
    bias = _as_bias(mask, query)
    if bias is not None:
        bias = bias.expand(*query.shape[:-1], key.shape[-2])
    efficient, train = _aten._scaled_dot_product_efficient_attention, torch.is_grad_enabled()
    return efficient(query, key, value, bias, train, dropout_p, is_causal, scale=scale)[0]


def _as_bias(mask: Tensor | None, query: Tensor) -> Tensor | None:
    """A mask as these kernels take it: what is added to the scores, in the dtype of the query."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return query.new_zeros(mask.shape).masked_fill_(mask.logical_not(), float("-inf"))
