"""What is tested here is tested for the embedded family by default, for every family in the slow tier.

A module that names its `FAMILIES` runs for those, always.
"""

import pytest

from umed.tasks import parity

DEFAULT = ("qwen3_vl",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "family" in metafunc.fixturenames:
        own = getattr(metafunc.module, "FAMILIES", None)
        always = own or DEFAULT
        params = [pytest.param(n, marks=[] if n in always else [pytest.mark.slow]) for n in own or parity.names()]
        metafunc.parametrize("family", params, indirect=True, scope="session")
