"""A pretend accelerator: its tensors live on `pretend:0`, their numbers in the CPU's memory.

An operation on this device and another one raises, as on a GPU; every result is the CPU's; and what makes the host wait
for a GPU is counted by operation and line. So it proves placement and bounds waits. Speed, memory and 16-bit kernels
are for a real device.

A process registers it once, before its first backward pass. Outside of `active` nothing reports that it is there.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.backend_registration import _DummyPrivateUse1Hook, _setup_privateuseone_for_python_backend

NAME = "pretend"
PACKAGE = f"{Path(__file__).parents[1] / 'src' / 'umed'}/"
Waits = Counter[tuple[str, str]]  # (operation, file:line of the package) -> how often

INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_consecutive", "bincount",
           "repeat_interleave")  # fmt: skip
# torch makes these of other operations, and their waits would count twice; those that only make a view may
ANY_DEVICE = ("CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")
LEFT_TO_TORCH = ("as_strided", "copy_", "_to_copy", "detach", "alias")

_has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
_META = torch._C.DispatchKeySet(torch._C.DispatchKey.Meta)
_counters: list[Waits] = []
# storage -> the numbers in it; the reference keeps its address from being reused
_numbers: dict[int, tuple[StorageWeakRef, Tensor]] = {}


def _here(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_cpu


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.storage_offset()


def _read(tensor: Tensor) -> Tensor:
    """Its numbers, in place; a tensor of the CPU as it is."""
    if not _here(tensor):
        return tensor
    numbers, (dtype, size, stride, offset) = _numbers[tensor.untyped_storage()._cdata][1], _layout(tensor)
    if _layout(numbers) == (dtype, size, stride, offset):
        return numbers
    return torch.empty(0, dtype=dtype).set_(numbers.untyped_storage(), offset, size, stride)


def _write(numbers: Tensor, given: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """A tensor with these numbers: a view of the one whose memory they are in, if it was given."""
    memory = numbers.untyped_storage()._cdata
    for tensor, others in given:
        if _here(tensor) and others.untyped_storage()._cdata == memory and tensor.dtype == numbers.dtype:
            return _strided(tensor, *_layout(numbers)[1:])
    if not len(_numbers) % 4096:
        for key in [key for key, (storage, _) in _numbers.items() if storage.expired()]:
            del _numbers[key]
    tensor = torch._C._acc.create_empty_tensor(tuple(numbers.shape), numbers.dtype)
    storage = tensor.untyped_storage()
    _numbers[storage._cdata] = StorageWeakRef(storage), numbers
    return tensor if _layout(tensor) == _layout(numbers) else _strided(tensor, *_layout(numbers)[1:])


def _strided(tensor: Tensor, size: Any, stride: Any, offset: int | None = None) -> Tensor:
    start = tensor.storage_offset() if offset is None else offset
    return torch.ops.aten.as_strided.default.redispatch(_META, tensor, size, stride, start)


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Nobody need wait for a copy to the device; one to the host is there to be read."""
    there = _here(target)
    if _here(source) != there and source.numel() and not (there and non_blocking):
        _wait("to the device" if there else "to the host")
    _read(target).copy_(_read(source))
    return target


def _compute(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Any other operation."""
    name = op._schema.name.removeprefix("aten::")
    tensors: list[tuple[Tensor, Tensor]] = []  # those given, and their numbers

    def to_numbers(value: Any) -> Any:
        if isinstance(value, Tensor):
            if not _here(value) and value.ndim and name not in INDEXING:  # indices may be the host's
                raise RuntimeError(f"{name}: {tuple(value.shape)} on {value.device}, others on {NAME}:0")
            tensors.append((value, _read(value)))
            return tensors[-1][1]
        if type(value) is torch._C.Generator:  # there are none of the device
            raise RuntimeError(f"{name}: a generator of {value.device}, tensors on {NAME}:0")
        return torch.device("cpu") if isinstance(value, torch.device) else value

    def to_device(value: Any) -> Any:
        given_as = next((tensor for tensor, numbers in tensors if numbers is value), value)
        return _write(value, tensors) if given_as is value and isinstance(value, Tensor) else given_as

    values = _each(to_numbers, args)
    named = {key: _each(to_numbers, value) for key, value in kwargs.items() if key != "pin_memory"}
    if name in INDEXING:
        fills = "put" in name and values[2].numel() == 1
        if not fills and any(index is not None and index.dtype == torch.bool for index in values[1]):
            _wait(name)
        if any(tensor.ndim and not _here(tensor) for tensor, _ in tensors):
            _wait("to the device")
    elif name in WAITING:
        _wait(name)
    if name == "_fused_sdp_choice":
        return 0  # the plain operations
    if name == "_local_scalar_dense":
        return values[0].item()
    out = op(*values, **named)
    for tensor, numbers in tensors:  # an output that was given may have been resized
        if tensor.shape != numbers.shape:
            tensor.data = _strided(tensor, *_layout(numbers)[1:])
    return _each(to_device, out)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    return type(value)([_each(change, v) for v in value]) if isinstance(value, list | tuple) else change(value)


def _wait(what: str) -> None:
    frame: Any = sys._getframe()
    while frame and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    where = f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno}" if frame else "elsewhere"
    for counter in _counters:
        counter[what, where] += 1


class _Hooks(_DummyPrivateUse1Hook):
    active = False

    def is_available(self) -> bool:
        return self.active


@cache
def register() -> tuple[_Hooks, list[Any]]:
    """Have torch know the device; the libraries live as long as the process."""
    hooks = _Hooks()
    module = SimpleNamespace(
        is_available=hooks.is_available,
        is_initialized=hooks.is_available,
        device_count=lambda: int(hooks.active),
        current_device=lambda: 0,
        device=lambda index: nullcontext(),
        get_amp_supported_dtype=lambda: [torch.bfloat16, torch.float16],
        get_rng_state=lambda *device: torch.get_rng_state(),
        set_rng_state=lambda state, *device: torch.set_rng_state(state),
        manual_seed_all=lambda seed: None,  # it draws with the CPU's generator
        _is_in_bad_fork=lambda: False,
    )
    _setup_privateuseone_for_python_backend(NAME, backend_module=module, hook=hooks)
    anything, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    anything.fallback(_compute, "PrivateUse1")
    anything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # autocast changes nothing
    aten.impl("as_strided", _strided, "PrivateUse1")
    aten.impl("_copy_from", _copy_from, "PrivateUse1")
    for full in torch._C._dispatch_get_all_op_names():
        name = full.removeprefix("aten::")
        short, _, overload = name.partition(".")
        op = getattr(getattr(torch.ops.aten, short, None), overload or "default", None)
        if op and full != name and name not in LEFT_TO_TORCH and any(_has_kernel(full, key) for key in ANY_DEVICE):
            aten.impl(name, partial(_compute, op), "PrivateUse1")
    return hooks, [anything, aten]


@contextmanager
def active() -> Iterator[torch.device]:
    """Inside, the device is available."""
    hooks, has_storage = register()[0], torch._C._has_storage
    with (
        mock.patch.object(hooks, "active", True),
        # so that a moved parameter stays the same object, as on a GPU: layers that share one go on sharing it
        mock.patch.object(torch.__future__, "_swap_module_params_on_conversion", True),
        # so that tensors are copied and saved as numbers of the CPU
        mock.patch.object(torch._C, "_has_storage", lambda tensor: not _here(tensor) and has_storage(tensor)),
    ):
        yield torch.device(NAME, 0)


@contextmanager
def count_waits() -> Iterator[Waits]:
    """What the host waits for inside."""
    waits: Waits = Counter()
    _counters.append(waits)
    try:
        yield waits
    finally:
        _counters[:] = [counter for counter in _counters if counter is not waits]
