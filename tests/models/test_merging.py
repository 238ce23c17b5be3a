"""A merged adapter decodes what it decodes otherwise, and leaves no bit behind."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from torch import nn

from umed.chat import Prompt
from umed.errors import InputError
from umed.models.contexts import trained_weights, with_weights
from umed.models.critics.adapter import AdapterCritic, active_adapter
from umed.models.merging import merged
from umed.models.noise import Noise
from umed.models.policy import Policy

LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
Make = Callable[..., Policy]
Prompts = Callable[..., list[Prompt]]


def trained(pi: Policy, prompts: list[Prompt], steps: int = 2) -> Policy:
    """The policy after a few large steps on any answers, so that its adapter matters."""
    optimizer = torch.optim.SGD(pi.body(), 1e-2)
    ids = torch.randint(10, 40, (len(prompts), 5), generator=torch.Generator().manual_seed(0))
    for _ in range(steps):
        pi.score(prompts, ids, torch.ones_like(ids, dtype=torch.bool), values=False).entropy_BT.sum().backward()
        for p in pi.body():
            p.grad = p.grad.sign()
        optimizer.step()
        optimizer.zero_grad()
    return pi


def layers_of(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, Linear)]


def state_of(model: nn.Module) -> dict[str, tuple[int, bool, torch.Tensor]]:
    """Every weight: the object, whether it is trained, and its bits."""
    return {n: (id(p), p.requires_grad, p.detach().clone()) for n, p in model.named_parameters()}


def assert_untouched(model: nn.Module, before: dict[str, tuple[int, bool, torch.Tensor]]) -> None:
    after = state_of(model)
    assert list(after) == list(before)
    for name, (place, on, value) in before.items():
        assert after[name][:2] == (place, on) and torch.equal(after[name][2], value), name
    assert not any(layer.merged for layer in layers_of(model))


def distributions(pi: Policy, prompts: list[Prompt]) -> torch.Tensor:
    ids = torch.arange(10, 14).repeat(len(prompts), 1)
    with torch.no_grad():
        return pi.score(prompts, ids, torch.ones_like(ids, dtype=torch.bool), plain=True).logp_BT


@pytest.fixture
def pi(policy: Make, make_prompts: Prompts) -> Iterator[Policy]:
    pi = trained(policy(adapter=LORA).eval(), make_prompts(2))
    before = state_of(pi)
    yield pi
    assert_untouched(pi, before)


def test_answers_sampled_merged_score_as_unmerged(pi: Policy, make_prompts: Prompts) -> None:
    prompts = make_prompts(3)
    before = state_of(pi.model)
    with merged(pi.model):
        assert layers_of(pi.model) and all(layer.merged for layer in layers_of(pi.model))
        changed = {n for n, (_, _, value) in state_of(pi.model).items() if not torch.equal(value, before[n][2])}
        assert len(changed) == len(layers_of(pi.model)) and all("base_layer.weight" in n for n in changed)
        answers = pi.sample(prompts, 3, 6, noise=Noise(0))
    scored = pi.score(prompts, answers.ids_BT, answers.mask_BT).logp_BT
    torch.testing.assert_close(answers.logp_BT[answers.mask_BT], scored[answers.mask_BT], atol=1e-5, rtol=0)
    pi.merge = "false"
    alone = pi.sample(prompts, 3, 6, noise=Noise(0))
    assert torch.equal(answers.ids_BT, alone.ids_BT)
    adapted = distributions(pi, prompts)
    with pi.model.disable_adapter():
        assert not torch.allclose(distributions(pi, prompts), adapted, atol=1e-2), "the adapter matters"


def test_an_exception_inside_restores_all(pi: Policy) -> None:
    with pytest.raises(KeyboardInterrupt), merged(pi.model):
        raise KeyboardInterrupt


def test_an_exception_half_way_restores_all(pi: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    last = layers_of(pi.model)[-1]
    monkeypatch.setattr(last, "get_delta_weight", lambda name: torch.zeros(1, 1).to("nowhere"))
    with pytest.raises(RuntimeError), merged(pi.model):
        pytest.fail("entered")


def test_nested_it_merges_once(pi: Policy, make_prompts: Prompts) -> None:
    with merged(pi.model):
        once = distributions(pi, make_prompts(2))
        with merged(pi.model):
            assert torch.equal(distributions(pi, make_prompts(2)), once)
        assert torch.equal(distributions(pi, make_prompts(2)), once)


def test_gradients_are_off_inside_and_training_goes_on_after(pi: Policy, policy: Make, make_prompts: Prompts) -> None:
    with merged(pi.model):
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    one, two = (trained(policy(adapter=LORA).eval(), make_prompts(2)) for _ in range(2))
    with merged(one.model):
        distributions(one, make_prompts(2))
    trained(one, make_prompts(2)), trained(two, make_prompts(2))
    assert all(torch.equal(a, b) for a, b in zip(one.body(), two.body(), strict=True))


def test_earlier_weights_are_merged_inside_them_and_refused_outside(pi: Policy, make_prompts: Prompts) -> None:
    earlier = {n: p * 0.5 for n, p in trained_weights(pi.model).items()}
    prompts = make_prompts(2)
    with with_weights(pi.model, earlier):
        plain = distributions(pi, prompts)
        with merged(pi.model):
            torch.testing.assert_close(distributions(pi, prompts), plain, atol=1e-5, rtol=0)
    assert not torch.allclose(distributions(pi, prompts), plain, atol=1e-3)
    with merged(pi.model), pytest.raises(RuntimeError, match="leave `merged` first"), with_weights(pi.model, earlier):
        pytest.fail("entered")


def test_only_the_active_adapter_is_merged(policy: Make, make_prompts: Prompts) -> None:
    """The critic's stays apart, and cannot be asked for inside."""
    pi, prompts = trained(policy(adapter=LORA, critic=AdapterCritic).eval(), make_prompts(2)), make_prompts(2)
    with torch.no_grad():
        for p in pi.critic.body():
            p.add_(0.1)
    before, plain = state_of(pi), distributions(pi, prompts)
    with merged(pi.model):
        assert {tuple(layer.merged_adapters) for layer in layers_of(pi.model)} == {("default",)}
        answers = pi.sample(prompts, 2, 4, noise=Noise(0))
        with pytest.raises(RuntimeError, match="leave `merged` first"), active_adapter(pi.model, "critic"):
            pytest.fail("entered")
    scored = pi.score(prompts, answers.ids_BT, answers.mask_BT).logp_BT
    torch.testing.assert_close(answers.logp_BT[answers.mask_BT], scored[answers.mask_BT], atol=1e-5, rtol=0)
    assert_untouched(pi, before)
    assert torch.equal(distributions(pi, prompts), plain)


def test_sixteen_bits_are_merged_only_on_demand(policy: Make) -> None:
    pi = policy(adapter=LORA, dtype="bfloat16")
    before = state_of(pi)
    with merged(pi.model):
        assert not any(layer.merged for layer in layers_of(pi.model))
    with merged(pi.model, True):
        assert all(layer.merged for layer in layers_of(pi.model))
    assert_untouched(pi, before)


def test_autocast_counts_as_sixteen_bits(pi: Policy) -> None:
    with torch.autocast("cpu", torch.bfloat16), merged(pi.model):
        assert not any(layer.merged for layer in layers_of(pi.model))


def test_false_and_a_model_without_an_adapter_change_nothing(pi: Policy, policy: Make) -> None:
    with merged(pi.model, "false"):
        assert not any(layer.merged for layer in layers_of(pi.model))
    whole = policy()
    before = state_of(whole)
    with merged(whole.model):
        assert_untouched(whole, before)
    with pytest.raises(InputError, match="engine.merge=maybe: choose auto, true or false"), merged(pi.model, "maybe"):
        pytest.fail("entered")
    with pytest.raises(InputError, match="engine.merge=maybe"):
        policy(merge="maybe")


class Small(nn.Module):
    """Layers of several kinds, two of which share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.linear = nn.Linear(8, 8)
        self.conv = nn.Conv1d(8, 8, 1)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.linear(self.embed(ids)))
        return self.head(self.conv(hidden.transpose(1, 2)).transpose(1, 2))


def small(**options: Any) -> PeftModel:
    torch.manual_seed(0)
    model = get_peft_model(Small(), LoraConfig(r=2, init_lora_weights=False, **options)).eval()
    with torch.no_grad():
        for n, p in model.named_parameters():
            if "modules_to_save.default" in n:
                p.add_(0.5)
    return model


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings|.*tied.*")
@pytest.mark.parametrize(
    ("options", "merging"),
    [
        ({"target_modules": ["linear", "head"]}, {"linear", "head"}),
        ({"target_modules": ["linear", "conv", "embed"]}, {"linear"}),
        ({"target_modules": ["linear"], "modules_to_save": ["norm"]}, {"linear"}),
        ({"target_modules": ["linear"], "use_dora": True}, set()),
        ({"target_modules": ["linear"], "lora_bias": True}, set()),
        ({"target_modules": ["linear"], "use_rslora": True}, {"linear"}),
    ],
    ids=["tied head", "other kinds", "modules to save", "dora", "bias", "rslora"],
)
def test_a_layer_that_cannot_be_merged_computes_as_before(options: dict, merging: set[str]) -> None:
    model = small(**options)
    before, ids = state_of(model), torch.arange(12).view(2, 6)
    plain = model(ids)
    with merged(model):
        found = {n.split(".")[-1] for n, m in model.named_modules() if getattr(m, "merged_adapters", None)}
        inside = model(ids)
    assert found == merging
    torch.testing.assert_close(inside, plain, atol=1e-5, rtol=0)
    assert_untouched(model, before)
    assert torch.equal(model(ids), plain)


def test_several_active_adapters_are_summed() -> None:
    model = small(target_modules=["linear"])
    model.add_adapter("more", LoraConfig(r=3, target_modules=["linear", "head"], init_lora_weights=False))
    model.base_model.set_adapter(["default", "more"])
    before, ids = state_of(model), torch.arange(12).view(2, 6)
    plain = model(ids)
    with merged(model):
        torch.testing.assert_close(model(ids), plain, atol=1e-5, rtol=0)
        assert model.base_model.model.linear.merged_adapters == ["default", "more"]
    assert_untouched(model, before)


def test_a_disabled_adapter_is_not_merged() -> None:
    model, ids = small(target_modules=["linear"]), torch.arange(12).view(2, 6)
    with model.disable_adapter():
        plain = model(ids)
        with merged(model):
            assert torch.equal(model(ids), plain)
