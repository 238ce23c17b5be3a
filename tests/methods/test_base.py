"""One optimizer step: checked, clipped, then taken."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from umed.errors import InputError
from umed.methods.base import HEAD_LR, Method
from umed.methods.compute import planned_batches
from umed.models.policy import Policy


class Plain(Method):
    """The shared part alone, around one weight and a value head; no trainer."""

    name = "test"

    def __init__(self, policy: object, **kwargs: object) -> None:
        fixed = {"seed": 0, "batch_size": 1, "steps": 10, "total_batches": 10, "schedule": "constant"}
        super().__init__(lambda **_: policy, **fixed, **kwargs)
        self.configure_model()
        chosen = self.configure_optimizers()
        self._chosen = (chosen["optimizer"], chosen["lr_scheduler"])

    def optimizers(self) -> torch.optim.Optimizer:
        return self._chosen[0]

    def lr_schedulers(self) -> object:
        return self._chosen[1]


class Toy(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model, self.value_head = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        self.device = torch.device("cpu")
        self.critic = SimpleNamespace(body=lambda: [])

    def body(self) -> list[torch.nn.Parameter]:
        return list(self.model.parameters())


def weights(method: Plain) -> list[torch.Tensor]:
    return [p.detach().clone() for p in method.policy.parameters()]


def nothing() -> dict:
    return {}


def test_a_loss_that_is_not_finite_changes_nothing_and_is_counted() -> None:
    method = Plain(Toy(), lr=0.1)
    before, schedule = weights(method), method.lr_schedulers().last_epoch
    sum(p.sum() for p in method.policy.parameters()).backward()
    parts = {"policy/clip": torch.tensor(1.0), "policy/entropy": torch.tensor(float("nan"))}
    told = method.apply_gradients(parts, nothing)
    assert float(told["policy/skipped"]) == 1 and math.isnan(told["policy/entropy"]) and float(told["policy/clip"]) == 1
    assert all(torch.equal(a, b) for a, b in zip(weights(method), before, strict=True))
    assert all(p.grad is None or (p.grad == 0).all() for p in method.policy.parameters())
    assert not method.optimizers().state and method.lr_schedulers().last_epoch == schedule


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(value: float) -> None:
    method = Plain(Toy(), lr=0.1)
    before = weights(method)
    next(method.policy.parameters()).grad = torch.full((1, 2), value)
    told = method.apply_gradients({"policy/clip": torch.tensor(1.0)}, nothing)
    assert not math.isfinite(told["policy/grad_norm"]) and float(told["policy/skipped"]) == 1
    assert all(torch.equal(a, b) for a, b in zip(weights(method), before, strict=True))


def test_several_in_a_row_stop_the_run_and_keep_the_batch(tmp_path: Path) -> None:
    method = Plain(Toy(), lr=0.1, max_skipped=3)
    method._trainer = SimpleNamespace(default_root_dir=tmp_path)  # type: ignore[assignment]
    bad, good = {"policy/clip": torch.tensor(float("nan"))}, {"policy/clip": torch.tensor(0.0)}

    def step(parts: dict) -> None:
        for p in method.policy.parameters():
            p.grad = torch.ones_like(p)
        method.apply_gradients(parts, lambda: {"ids_BT": torch.ones(2, 3), "records": ["a/1"]})

    for parts in (bad, bad, good, bad, bad):  # a good one in between: not in a row
        step(parts)
    checkpoint: dict = {}
    method.on_save_checkpoint(checkpoint)
    assert checkpoint["skipped"] == 2
    with pytest.raises(InputError, match="policy/clip not finite at test/iteration 0, 3 steps in a row") as error:
        step(bad)
    assert "\n" not in str(error.value) and str(tmp_path / "bad_batch.pt") in str(error.value)
    kept = torch.load(tmp_path / "bad_batch.pt", weights_only=True)
    assert kept["records"] == ["a/1"] and kept["ids_BT"].shape == (2, 3) and kept["not_finite"] == ["policy/clip"]


def toy_with_critic() -> Toy:
    """Its critic has a body of its own."""
    toy = Toy()
    toy.own = torch.nn.Linear(2, 1)
    toy.critic = SimpleNamespace(body=lambda: list(toy.own.parameters()))
    return toy


def fill_gradients(policy: Toy, of_policy: float, of_critic: float) -> None:
    for module, value in {policy.model: of_policy, policy.value_head: of_critic, policy.own: of_critic}.items():
        for p in module.parameters():
            p.grad = torch.full_like(p, value)


@pytest.mark.parametrize(("of_policy", "of_critic"), [(0.1, 1e3), (1e3, 0.1), (3.0, 3.0)])
def test_policy_and_critic_are_clipped_by_themselves_before_the_step(of_policy: float, of_critic: float) -> None:
    """A large gradient of one leaves that of the other as it is."""
    toy = toy_with_critic()
    method = Plain(toy, lr=0.1, max_grad_norm=0.5)
    seen = []

    def look(optimizer: torch.optim.Optimizer, *args: object) -> None:
        norms = [torch.stack([p.grad.norm() for p in g["params"]]).norm().item() for g in optimizer.param_groups]
        seen.append((norms[0], (norms[1] ** 2 + norms[2] ** 2) ** 0.5))

    method.optimizers().register_step_pre_hook(look)
    fill_gradients(toy, of_policy, of_critic)
    before = weights(method)
    told = method.apply_gradients({}, nothing)
    whole = (of_policy * 3**0.5, of_critic * 6**0.5)  # three numbers of the policy's, six of the critic's
    assert seen == [tuple(pytest.approx(min(norm, 0.5), rel=1e-4) for norm in whole)]
    # what is logged are the norms before clipping
    assert (float(told["policy/grad_norm"]), float(told["policy/critic_grad_norm"])) == pytest.approx(whole)
    assert not any(torch.equal(a, b) for a, b in zip(weights(method), before, strict=True))
    assert all(p.grad is None for p in method.policy.parameters())


@pytest.mark.parametrize(("of_policy", "of_critic"), [(1.0, float("nan")), (float("inf"), 1.0)])
def test_a_gradient_of_one_that_is_not_finite_skips_both(of_policy: float, of_critic: float) -> None:
    toy = toy_with_critic()
    method = Plain(toy, lr=0.1)
    before = weights(method)
    fill_gradients(toy, of_policy, of_critic)
    assert float(method.apply_gradients({}, nothing)["policy/skipped"]) == 1
    assert all(torch.equal(a, b) for a, b in zip(weights(method), before, strict=True))


def test_nothing_is_told_of_a_critic_that_was_not_used() -> None:
    method = Plain(Toy(), lr=0.1)
    before = method.policy.value_head.weight.clone()
    for p in method.policy.body():
        p.grad = torch.ones_like(p)
    assert method.apply_gradients({}, nothing).keys() == {"policy/grad_norm", "policy/skipped"}
    assert torch.equal(method.policy.value_head.weight, before)


@pytest.mark.parametrize(
    ("critic_lr", "rates"), [(None, [0.1, HEAD_LR, 0.1]), (0.7, [0.1, 0.7, 0.7]), (0, [0.1, 0, 0])]
)
def test_the_critic_has_its_own_rate_and_no_decay(critic_lr: float | None, rates: list[float]) -> None:
    toy = toy_with_critic()
    groups = Plain(toy, lr=0.1, critic_lr=critic_lr, weight_decay=0.3).optimizers().param_groups
    assert [g["lr"] for g in groups] == rates
    assert [g["weight_decay"] for g in groups] == [0.3, 0.0, 0.0]
    for group, module in zip(groups, (toy.model, toy.value_head, toy.own), strict=True):
        assert {id(p) for p in group["params"]} == {id(p) for p in module.parameters()}


def test_randomness_is_a_function_of_seed_batch_and_purpose() -> None:
    method = Plain(Toy(), lr=0.1)

    def draw(*key: int) -> int:
        return int(torch.randint(2**40, (1,), generator=method.generator(*key)))

    first = draw(0)
    torch.manual_seed(99)
    assert draw(0) == first and draw(1) != first
    method.iteration = 1
    assert draw(0) != first
    method.iteration, method.seed = 0, 1
    assert draw(0) != first


@pytest.mark.parametrize(("epochs", "steps", "expected"), [(None, 7, 7), (4, None, 14), (0.5, None, 2)])
def test_length_by_epochs_or_steps(epochs: float | None, steps: int | None, expected: int) -> None:
    assert planned_batches(10, 3, epochs, steps) == expected


@pytest.mark.parametrize(("epochs", "steps"), [(None, None), (1, 1)])
def test_epochs_and_steps_together_or_neither_are_refused(epochs: int | None, steps: int | None) -> None:
    with pytest.raises(InputError, match="give one of the two"):
        Method(lambda **_: None, seed=0, lr=1.0, batch_size=3, epochs=epochs, steps=steps)


def test_a_stage_has_the_methods_name_unless_it_is_given_another() -> None:
    assert Plain(Toy(), lr=0.1).stage == "test" and Plain(Toy(), lr=0.1, stage="ppo").stage == "ppo"


def test_optimization_is_manual() -> None:
    assert Plain(Toy(), lr=0.1).automatic_optimization is False


def test_a_checkpoint_holds_the_trained_weights_only(policy: Callable[..., Policy]) -> None:
    pi = policy(adapter={"r": 2, "target_modules": "all-linear"})
    method = Plain(pi, lr=0.1)
    method.iteration, method.skipped = 5, 2
    state = method.state_dict()
    assert any("lora_A" in n for n in state) and any("critic.head" in n for n in state)
    assert not any("base_layer" in n or "embed_tokens" in n for n in state)
    with torch.no_grad():
        for p in pi.parameters():
            if p.requires_grad:
                p.add_(1.0)
    method.load_state_dict(state, strict=method.strict_loading)
    assert all(torch.equal(v, state[n]) for n, v in method.state_dict().items())
    checkpoint: dict = {}
    method.on_save_checkpoint(checkpoint)
    other = SimpleNamespace(iteration=0, skipped=0)
    Method.on_load_checkpoint(other, checkpoint)
    assert (other.iteration, other.skipped) == (5, 2)


def test_validation_answers_greedily(policy: Callable[..., Policy], make_prompts: Callable) -> None:
    method = Plain(policy(), lr=0.1, max_new_tokens=4)
    one, two = (method.validation_step(make_prompts(3), 0)["answers"] for _ in range(2))
    assert torch.equal(one.ids_BT, two.ids_BT) and len(one.ids_BT) == 3


def test_a_checkpoint_with_other_tensors_than_are_trained_is_refused() -> None:
    method, state = Plain(Toy(), lr=0.1), Plain(Toy(), lr=0.1).state_dict()
    method.load_state_dict(state)
    assert all(torch.equal(method.state_dict()[n], v) for n, v in state.items())
    for other in (
        {n.replace("policy.", "policy.policy."): v for n, v in state.items()},
        {n: v for n, v in state.items() if "bias" not in n},
        {**state, "policy.extra": torch.ones(1)},
        {n: v[:0] for n, v in state.items()},
    ):
        with pytest.raises(
            InputError, match=rf"checkpoints/test: the model expects 4 tensors, the file has {len(other)}"
        ):
            method.load_state_dict(other)
