"""2 batches, a checkpoint and 2 more are 4 in one go, to the last bit, whatever has a state of its own."""

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from umed.engine.budget import Budget
from umed.methods import aar
from umed.methods.credit.gae import GaeCredit
from umed.methods.credit.reinforce_pp import ReinforceCredit
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective
from umed.synthetic.parity import TinyModel, resume

SETTINGS: dict[str, Any] = {
    "plain": lambda: {"credit": GaeCredit()},
    "adaptive": lambda: {
        "credit": ReinforceCredit(),
        "objective": partial(ClippedObjective, entropy_target=1.0, c3_step=0.01),
        "kl": Kl(0.5, target=1e-6, horizon=20),
    },
    "kl in the loss": lambda: {
        "credit": GaeCredit(),
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

    monkeypatch.setattr(import_module(resume.__module__), "AbnormalAwareRewarding", Set)
    assert resume(TinyModel("qwen3_vl", tmp_path / "tiny")) == 0
    whole, _, both = made
    assert (whole.kl.coef, whole.objective.c3) == (both.kl.coef, both.objective.c3)
    if setting == "adaptive":
        assert whole.kl.coef != 0.5 and whole.objective.c3 != 0.01
    if whole.kl.weights:
        assert all((whole.kl.weights[n] == v).all() for n, v in both.kl.weights.items())


def test_a_resume_cuts_as_the_run_did_where_memory_was_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one go with memory that is short once; then in two, where it never is."""
    made, calls, file = [], [0], tmp_path / "engine.json"

    class Set(aar.AbnormalAwareRewarding):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs, budget=Budget(1000, file))
            made.append((self, []))

    class Objective(ClippedObjective):
        def __call__(self, policy: Any, part: Any, *args: Any) -> Any:
            calls[0] += 1
            made[-1][1].append(len(part.ids_BT))
            if calls[0] == 3:
                raise torch.OutOfMemoryError("out")
            return super().__call__(policy, part, *args)

    training = import_module(resume.__module__)
    monkeypatch.setattr(training, "AbnormalAwareRewarding", Set)
    monkeypatch.setattr(training, "ClippedObjective", Objective)
    assert resume(TinyModel("qwen3_vl", tmp_path / "tiny")) == 0
    (whole, sizes), (_, first), (both, second) = made
    assert sizes[:2] == first[:2] and len(set(sizes)) > 1 and sizes[3:] == first[2:] + second
    assert len(whole.budget.halvings) == 1 and whole.budget.halvings == both.budget.halvings
