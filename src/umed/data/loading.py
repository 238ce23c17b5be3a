"""Data loaders of training and evaluation: batches that workers hand over, and how many workers there are."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from umed.chat import Prompt
from umed.errors import InputError
from umed.processes import find_processes

ANSWER = "answer"  # beside the names of a prompt's inputs
ALIGNMENT = 16  # bytes; more than any type of number has
Place = tuple[int, torch.dtype, torch.Size]  # of a tensor in the block: first byte, type, shape

LARGE = 384 * 384  # pixels; encoding a smaller picture costs less than handing it over
MOST = 4  # workers, by choice of ours


class Batch(list[Any]):
    """Prompts, or items with a `prompt`; between processes all their tensors travel in one block of shared memory.

    torch would open a file for every tensor of every batch that is ready, and a process may open 1,024.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        places: list[dict[str, Place]] = []
        parts: list[tuple[int, Tensor]] = []
        end = 0
        for prompt in map(_prompt_of, self):
            places.append({})
            for name, tensor in {**prompt.inputs, ANSWER: prompt.answer}.items():
                places[-1][name] = end, tensor.dtype, tensor.shape
                parts.append((end, tensor))
                end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        block = torch.empty(end, dtype=torch.uint8)
        for start, tensor in parts:
            block[start : start + tensor.nbytes] = tensor.contiguous().reshape(-1).view(torch.uint8)
        return _unpack, (block, places, [_without_tensors(item) for item in self])


def _unpack(block: Tensor, places: Sequence[dict[str, Place]], items: list[Any]) -> Batch:
    for prompt, named in zip(map(_prompt_of, items), places, strict=True):
        tensors = {}
        for name, (start, dtype, shape) in named.items():
            end = start + shape.numel() * dtype.itemsize
            tensors[name] = block[start:end].view(dtype).view(shape)
        prompt.answer, prompt.inputs = tensors.pop(ANSWER), tensors
    return Batch(items)


def _prompt_of(item: Any) -> Prompt:
    return item if isinstance(item, Prompt) else item.prompt


def _without_tensors(item: Any) -> Any:
    bare = replace(_prompt_of(item), inputs={}, answer=None)  # type: ignore[arg-type]  # `_unpack` fills them in
    return bare if isinstance(item, Prompt) else replace(item, prompt=bare)


def make_loader(dataset: Dataset, *, num_workers: int, **options: Any) -> DataLoader:
    """A loader of `Batch`; `options`: those of torch's."""
    if num_workers:  # a fork, of which the tokenizers' threads warn unless they are told
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return DataLoader(dataset, collate_fn=Batch, num_workers=num_workers, **options)


def check_workers(num_workers: int | None) -> None:
    """Refuse what is no number of workers; None is `choose_workers`."""
    if num_workers is not None and (type(num_workers) is not int or num_workers < 0):
        raise InputError(f"data.num_workers={num_workers}: a whole number, 0 or more, is needed; null chooses it")


def choose_workers(pixels: int) -> int:
    """Workers where `num_workers` is null, for pictures of so many pixels: none where they would only cost.

    One core is left to the training itself; a worker's start costs more than small pictures do.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores //= find_processes().local_count  # each of several processes has workers of its own
    return min(MOST, cores - 1) if cores > 2 and pixels >= LARGE else 0
