"""Every family, tiny and random, passes every check of `task=parity`; a broken one does not."""

from pathlib import Path

import pytest

from umed.synthetic.parity import CHECKS, TinyModel
from umed.synthetic.tiny_models import family_names


@pytest.fixture(scope="module", params=family_names())
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return TinyModel(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("check", [pytest.param(c, marks=pytest.mark.slow) if c == "resume" else c for c in CHECKS])
def test_parity(tiny: TinyModel, check: str) -> None:
    function, limit = CHECKS[check]
    assert function(tiny) <= limit


def test_the_two_prompts_of_a_family_differ_where_the_family_lets_them(tiny: TinyModel) -> None:
    one, two = (len(p.inputs["input_ids"]) for p in tiny.prompts)
    assert one != two  # so there is left padding


def test_every_family_has_a_setting() -> None:
    conf = Path(__file__).parents[2] / "conf" / "model"
    said = "".join(p.read_text() for p in conf.glob("*.yaml"))
    assert not [n for n in family_names() if f"umed.models.backbones.{n}\n" not in said]
