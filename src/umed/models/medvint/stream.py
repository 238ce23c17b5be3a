"""A checkpoint in and out without ever being in memory as a whole."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from umed.errors import InputError
from umed.models.weights import first_line

# What checkpoints of that time hold besides tensors, and weights_only refuses: numbers of numpy, under both its names.
_SCALAR = np.float64(0).__reduce__()[0]
ALLOWED: tuple[Any, ...] = (
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)),
)
DTYPES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64",
    torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def read_pickled(path: Path) -> dict[str, Any]:
    """The entries of a file of torch.save, its tensors mapped, not read; no code of the file runs.

    Raises:
        InputError: not such a file, damaged, with objects other than tensors and `ALLOWED`, or no state dict.
    """
    try:
        with torch.serialization.safe_globals(list(ALLOWED)):
            entries = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # of a file that is not ours, torch raises whatever it stumbles on
        reason = first_line(error)
        if "Weights only load failed" in str(error):
            reason = next((x for x in str(error).splitlines() if "nsupported" in x or "GLOBAL" in x), reason).strip()
            raise InputError(
                f"{path}: holds objects that are no tensors, which are not loaded ({reason}): take the published file"
            ) from None
        raise InputError(f"{path}: not readable as a checkpoint of torch ({reason}): copy it again") from None
    if not isinstance(entries, Mapping) or not entries or not all(isinstance(key, str) for key in entries):
        raise InputError(f"{path}: holds no state dict: take the published pytorch_model.bin")
    return dict(entries)


@dataclass(frozen=True)
class Planned:
    """A tensor of the file to be written, made when its turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]


def write_safetensors(path: Path, planned: Sequence[Planned]) -> int:
    """Write a safetensors file, one tensor in memory at a time; its size in bytes.

    The format: eight bytes with the length of the header, a JSON header with each tensor's place, then the values.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for one in planned:
        start, end = end, end + prod(one.shape) * one.dtype.itemsize
        header[one.name] = {"dtype": DTYPES[one.dtype], "shape": list(one.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for one in planned:
            tensor = one.make().to(one.dtype).contiguous()
            assert tuple(tensor.shape) == one.shape, one.name
            file.write(tensor.flatten().view(torch.uint8).numpy().data)
    part.replace(path)
    return 8 + len(text) + end
