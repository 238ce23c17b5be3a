"""Summed weights give peft's own values and gradients, and are used only where they may be."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from umed.models.policy import Policy
from umed.models.summed_lora import SummedLinear, sum_lora

X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


def small(bias: bool = True, outputs: int = 4, r: int = 3, **settings: Any) -> Any:
    """A PEFT model of one layer with an adapter that matters."""
    torch.manual_seed(0)
    config = LoraConfig(r=r, lora_alpha=5, target_modules=["0"], init_lora_weights=False, **settings)
    return get_peft_model(nn.Sequential(nn.Linear(6, outputs, bias=bias)), config)


def computed(model: nn.Module, autocast: bool = False, rows: int = 5) -> list[Tensor]:
    """Output and gradients."""
    x = X[:, :rows].to(next(model.parameters()).dtype, copy=True).requires_grad_(True)
    torch.manual_seed(1)  # dropout
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model(x)
    model.zero_grad()
    out.float().square().sum().backward()
    return [out, x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each weight that was summed to compute an output."""
    made: list[None] = []
    delta = SummedLinear.get_delta_weight

    def counted(self: SummedLinear, name: str) -> Tensor:
        made.append(None)
        return delta(self, name)

    monkeypatch.setattr(SummedLinear, "get_delta_weight", counted)
    return made


def assert_summed(model: Any, calls: list[None], adapters: int = 1) -> None:
    expected = computed(model)
    assert not calls
    sum_lora(model)
    for found, value in zip(computed(model), expected, strict=True):
        torch.testing.assert_close(found, value, atol=1e-5, rtol=1e-5)
    assert len(calls) == adapters and len(expected) == 2 + 2 * adapters


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_peft(calls: list[None], bias: bool) -> None:
    assert_summed(small(bias), calls)


def test_two_adapters_are_summed(calls: list[None]) -> None:
    model = small()
    model.add_adapter("other", LoraConfig(r=2, target_modules=["0"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "other"])
    assert_summed(model, calls, adapters=2)


def test_dropout_that_is_off_is_none(calls: list[None]) -> None:
    assert_summed(small(lora_dropout=0.5).eval(), calls)


CASES: dict[str, tuple[dict[str, Any], Callable[[Any], Any], bool]] = {
    "dropout": ({"lora_dropout": 0.5}, lambda m: m.train(), False),
    "dora": ({"use_dora": True}, lambda m: None, False),
    "bias of the adapter": ({"lora_bias": True}, lambda m: None, False),
    "low rank": ({"r": 1, "outputs": 40}, lambda m: None, False),
    "half precision": ({}, lambda m: m.bfloat16(), False),
    "autocast": ({}, lambda m: None, True),
    "merged": ({}, lambda m: m.merge_adapter(), False),
    "disabled": ({}, lambda m: m.base_model.disable_adapter_layers(), False),
}


@pytest.mark.parametrize("case", CASES)
def test_other_layers_compute_as_before(calls: list[None], case: str) -> None:
    settings, change, autocast = CASES[case]
    results = []
    for summed in (False, True):
        model = small(**settings)
        change(model)
        if summed:
            sum_lora(model)
        with torch.no_grad() if case in ("merged", "disabled") else torch.enable_grad():
            given = X.to(next(model.parameters()).dtype)
            results.append([model(given)] if case in ("merged", "disabled") else computed(model, autocast))
    assert not calls
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_few_rows_are_not_worth_a_sum(calls: list[None]) -> None:
    model = small()
    expected = computed(model, rows=1)
    sum_lora(model)
    assert all(torch.equal(a, b) for a, b in zip(computed(model, rows=1), expected, strict=True)) and not calls


def test_an_adapter_of_a_policy_is_summed(policy: Callable[..., Policy], calls: list[None]) -> None:
    pi = policy(adapter={"r": 32, "lora_alpha": 64, "lora_dropout": 0.0})
    layers = [m for m in pi.modules() if isinstance(m, SummedLinear)]
    assert len(layers) == 7 * len(pi.core.get_decoder().layers)
    layers[0](torch.zeros(200, layers[0].in_features))
    assert len(calls) == 1
