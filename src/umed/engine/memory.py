"""Out of memory: how it is recognized, and what can be given back."""

import gc

import torch

TEXTS = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: of PyTorch on a GPU or on the CPU, or of CUDA's libraries beside it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in TEXTS)


def peak_memory(device: torch.device) -> dict[str, float]:
    """`memory/peak`: GB (2^30 bytes) of a GPU that this process's tensors have taken at most so far; {} elsewhere."""
    return {"memory/peak": torch.cuda.max_memory_allocated(device) / 2**30} if device.type == "cuda" else {}


def release_memory() -> None:
    """Give back what failed passes have left."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
