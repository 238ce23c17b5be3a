"""Every family, tiny and random, passes every check of `task=parity`; a broken one does not."""

from pathlib import Path

import pytest

from umed.synthetic import parity


@pytest.fixture(scope="module", params=parity.names())
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return parity.Tiny(request.param, tmp_path_factory.mktemp(request.param))


NEEDED = ("log-probs", "attention", "patch map", "codec")  # of every family, every time
LATER = [c for c in parity.CHECKS if c not in NEEDED]


@pytest.mark.parametrize("check", [*NEEDED, *(pytest.param(c, marks=pytest.mark.slow) for c in LATER)])
def test_parity(tiny: parity.Tiny, check: str) -> None:
    function, limit = parity.CHECKS[check]
    assert function(tiny) <= limit


def test_the_two_prompts_of_a_family_differ_where_the_family_lets_them(tiny: parity.Tiny) -> None:
    one, two = (len(p.inputs["input_ids"]) for p in tiny.prompts)
    assert one != two  # so there is left padding


def test_every_family_has_a_setting() -> None:
    conf = Path(__file__).parents[2] / "conf" / "model"
    said = "".join(p.read_text() for p in conf.glob("*.yaml"))
    assert not [n for n in parity.names() if f"umed.models.backbones.{n}\n" not in said]
