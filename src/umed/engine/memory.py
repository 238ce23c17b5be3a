"""Out of memory: how it is recognized, and what can be given back."""

import gc

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def release_memory() -> None:
    """Give back what failed passes have left."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
