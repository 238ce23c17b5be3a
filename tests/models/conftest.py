"""What is tested here is tested for every model family."""

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", ["qwen3_vl", "qwen2_5_vl"], indirect=True, scope="session")
