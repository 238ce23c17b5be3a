"""2 batches, a checkpoint and 2 more are 4 in one go, to the last bit, whatever has a state of its own."""

from pathlib import Path
from typing import Any

import pytest

from umed.methods import aar
from umed.methods.credit.gae import GaeCredit
from umed.methods.credit.reinforce_pp import ReinforceCredit
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective
from umed.synthetic.parity import TinyModel, training

SETTINGS: dict[str, Any] = {
    "plain": lambda: {"credit": GaeCredit(), "objective": ClippedObjective()},
    "adaptive": lambda: {
        "credit": ReinforceCredit(),
        "objective": ClippedObjective(entropy_target=1.0, c3_step=0.01),
        "kl": Kl(0.5, target=1e-6, horizon=20),
    },
    "kl in the loss": lambda: {
        "credit": GaeCredit(),
        "objective": ClippedObjective(),
        "kl": Kl(0.5, "k1", "loss"),
    },
}


@pytest.mark.parametrize("setting", [pytest.param(s, marks=[pytest.mark.slow] * (s != "adaptive")) for s in SETTINGS])
def test_resume_is_bit_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    made = []

    class Set(aar.AbnormalAwareRewarding):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, **SETTINGS[setting]()})
            made.append(self)

    monkeypatch.setattr(training, "AbnormalAwareRewarding", Set)
    assert training.resume(TinyModel("qwen3_vl", tmp_path / "tiny")) == 0
    whole, _, both = made
    assert (whole.kl.coef, whole.objective.c3) == (both.kl.coef, both.objective.c3)
    if setting == "adaptive":
        assert whole.kl.coef != 0.5 and whole.objective.c3 != 0.01
    if whole.reference:
        assert all((whole.reference[n] == v).all() for n, v in both.reference.items())
