"""V(s_t; phi): each critic is 0 at first, sees the picture, and leaves the policy alone."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from umed.chat import Prompt
from umed.errors import InputError
from umed.models.critic import AdapterCritic, SeparateCritic, SharedCritic
from umed.models.load import save_adapter
from umed.models.policy import Policy

LORA = {"r": 4, "lora_alpha": 8}
CRITICS = [SharedCritic, partial(AdapterCritic, r=2, lora_alpha=4), SeparateCritic]
NAMES = ["shared", "adapter", "separate"]
IDS = torch.randint(10, 100, (2, 5), generator=torch.Generator().manual_seed(0))
MASK = torch.ones(2, 5, dtype=torch.bool)

pytestmark = pytest.mark.parametrize("critic", CRITICS, ids=NAMES)
Make = Callable[..., Policy]
Prompts = Callable[..., list[Prompt]]


def awake(pi: Policy) -> Policy:
    torch.manual_seed(0)
    torch.nn.init.normal_(pi.value_head.layers[-1].weight)
    return pi


def test_zero_at_first_and_then_of_the_picture(policy: Make, make_prompts: Prompts, critic: Callable) -> None:
    pi, (a, b) = policy(adapter=LORA, critic=critic), make_prompts(2, (56, 56))
    b = replace(a, inputs=a.inputs | {"pixel_values": b.inputs["pixel_values"]}, features=None)
    assert (pi.score([a], IDS[:1], MASK[:1]).values_BT == 0).all()
    awake(pi)
    one, other = (pi.score([p], IDS[:1], MASK[:1]).values_BT for p in (a, b))
    assert one.dtype == torch.float32 and (one - other).abs().max() > 1e-3


def test_the_value_loss_moves_the_critic_alone(policy: Make, make_prompts: Prompts, critic: Callable) -> None:
    pi = awake(policy(adapter=LORA, critic=critic))
    pi.score(make_prompts(2), IDS, MASK).values_BT.square().sum().backward()
    assert all(p.grad is None for p in pi.body())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in pi.value_head.parameters())
    moved = [p for p in pi.critic.body() if p.grad is not None and p.grad.abs().sum() > 0]
    assert bool(moved) == (not isinstance(pi.critic, SharedCritic) or type(pi.critic) is not SharedCritic)


def test_the_policy_loss_leaves_the_critic_alone(policy: Make, make_prompts: Prompts, critic: Callable) -> None:
    pi = awake(policy(adapter=LORA, critic=critic))
    plain = policy(adapter=LORA)
    prompts = make_prompts(2)
    said = pi.score(prompts, IDS, MASK)
    torch.testing.assert_close(said.logp_BT, plain.score(prompts, IDS, MASK).logp_BT, atol=1e-5, rtol=0)
    said.logp_BT.sum().backward()
    assert all(p.grad is None for p in [*pi.critic.body(), *pi.value_head.parameters()])
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in pi.body())


def test_body_and_critic_share_no_weight(policy: Make, critic: Callable) -> None:
    pi = policy(adapter=LORA, critic=critic)
    body, of_critic = ({id(p) for p in ps} for ps in (pi.body(), pi.critic.body()))
    assert body and not body & of_critic
    trained = {id(p) for p in pi.parameters() if p.requires_grad}
    assert trained == body | of_critic | {id(p) for p in pi.value_head.parameters()}


def test_it_survives_its_folder(policy: Make, make_prompts: Prompts, tmp_path: Path, critic: Callable) -> None:
    pi = awake(policy(adapter=LORA, critic=critic))
    with torch.no_grad():
        for p in pi.critic.body():
            p += 0.1
    prompts = make_prompts(2)
    save_adapter(pi, tmp_path, {})
    again = policy(init_from=str(tmp_path), critic=critic)
    for p in prompts:
        p.features = None
    before, after = (x.eval().score(prompts, IDS, MASK).values_BT for x in (pi, again))
    torch.testing.assert_close(after, before, atol=0, rtol=0)
    trained = {n for n, p in again.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in pi.named_parameters() if p.requires_grad}


def test_the_adapter_critic_refuses_a_tower_that_is_trained(policy: Make, critic: Callable) -> None:
    trained = {"r": 4, "target_modules": "all-linear"}
    if isinstance(critic, partial):
        with pytest.raises(
            InputError, match="critic=adapter needs a policy that trains an adapter in its language model"
        ):
            policy(adapter=trained, critic=critic)
    else:
        assert policy(adapter=trained, critic=critic).critic.head is not None


def test_an_adapter_needs_an_adapter(policy: Make, critic: Callable) -> None:
    if isinstance(critic, partial):
        with pytest.raises(InputError, match="critic=adapter needs a policy with an adapter"):
            policy(critic=critic)
    else:
        assert policy(critic=critic).critic.body() is not None


@pytest.mark.parametrize("options", [{}, {"adapter": {"r": 4, "target_modules": "all-linear"}}], ids=["full", "tower"])
def test_a_separate_critic_keeps_its_own_tower(
    policy: Make, make_prompts: Prompts, tmp_path: Path, critic: Callable, options: dict
) -> None:
    """The policy's tower has moved by the time that the critic is loaded again."""
    if critic is not SeparateCritic:
        pytest.skip("the others have none")
    pi, prompts = awake(policy(critic=critic, **options)), make_prompts(2)
    before = pi.score(prompts, IDS, MASK).values_BT
    with torch.no_grad():
        for p in pi.body():
            p += 0.05 * torch.randn_like(p)
    save_adapter(pi, tmp_path, {})
    again = policy(init_from=str(tmp_path), critic=critic)
    torch.testing.assert_close(again.eval().score(make_prompts(2), IDS, MASK).values_BT, before, atol=1e-4, rtol=0)


def test_the_head_of_another_critic_is_not_taken(policy: Make, tmp_path: Path, critic: Callable) -> None:
    save_adapter(awake(policy(adapter=LORA, critic=critic)), tmp_path, {})
    for other in CRITICS:
        head = policy(init_from=str(tmp_path), critic=other).value_head.layers[-1].weight
        assert bool((head == 0).all()) == (other is not critic)
