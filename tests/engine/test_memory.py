"""Which errors say that memory is short, and how much was taken at most."""

import pytest
import torch

from umed.engine.memory import is_out_of_memory, peak_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_what_says_that_memory_is_short(error: BaseException, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_peak_is_that_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: (device.index + 1) * 2**29)
    assert peak_memory(torch.device("cuda", 1)) == {"memory/peak": 1.0}
    assert peak_memory(torch.device("cpu")) == {}
