"""These tests are for a GPU; in the slow tier the same code runs on the pretend accelerator, so that it is proven."""

from collections.abc import Iterator

import pytest
import torch

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


@pytest.fixture(params=[pytest.param("cuda", marks=GPU), pytest.param("pretend", marks=pytest.mark.slow)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device("cuda", 0) if request.param == "cuda" else request.getfixturevalue("pretend")


@pytest.fixture
def deterministic() -> Iterator[dict[str, bool]]:
    """What a trainer needs for bit-exact runs; Lightning leaves torch's setting as it is afterwards."""
    yield {"deterministic": True}
    torch.use_deterministic_algorithms(False)
