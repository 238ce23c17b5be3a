"""Results of parts as that of the whole batch."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")
NO_FILL: Mapping[str, Any] = {}


def merge_rows(parts: Sequence[tuple[Tensor, T]], width: int, fill: Mapping[str, Any] = NO_FILL) -> T:
    """A dataclass of tensors, (B, ...) each, from those of some of its rows.

    Args:
        parts: numbers of the rows on the CPU, and the tensors of these rows; together they are all of the B rows.
        width: of tensors (B, T); further dimensions are as wide as the widest part.
        fill: what stands beyond a part's own width, by name of the field; 0 unless given.
    """
    order = torch.cat([rows for rows, _ in parts]).argsort()
    kind: Any = type(parts[0][1])
    merged = {}
    for name in (f.name for f in fields(kind)):
        tensors: list[Tensor] = [getattr(part, name) for _, part in parts]
        sizes = [max(sizes) for sizes in zip(*(t.shape[1:] for t in tensors), strict=True)]
        if len(sizes) == 1:
            sizes = [width]
        wide = []
        for t in tensors:
            whole = t.new_full((len(t), *sizes), fill.get(name, 0))
            whole[(slice(None), *(slice(size) for size in t.shape[1:]))] = t
            wide.append(whole)
        merged[name] = torch.cat(wide)[order.to(tensors[0].device)]
    return kind(**merged)
