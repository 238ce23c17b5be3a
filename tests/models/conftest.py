"""What is tested here is tested for the embedded family by default, for every family in the slow tier.

A module that names its `FAMILIES` runs for those, always; one with `IMAGE_TOKENS` for those with image tokens.
"""

import pytest

from umed.synthetic.tiny_models import backbone_of, family_names

DEFAULT = ("qwen3_vl",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "family" in metafunc.fixturenames:
        own = getattr(metafunc.module, "FAMILIES", None)
        always, image_tokens = own or DEFAULT, getattr(metafunc.module, "IMAGE_TOKENS", False)
        params = [
            pytest.param(n, marks=[] if n in always else [pytest.mark.slow])
            for n in own or [n for n in family_names() if not (image_tokens and backbone_of(n).no_attention)]
        ]
        metafunc.parametrize("family", params, indirect=True, scope="session")
