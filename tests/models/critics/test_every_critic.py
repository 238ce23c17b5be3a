"""Every critic of conf/critic, found by its yaml: 0 at first, sees the picture, and leaves the policy alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from umed.chat import Prompt
from umed.errors import InputError
from umed.models.adapters import HEAD, TENSORS
from umed.models.critics.base import Critic, check_critic
from umed.models.load import save_adapter
from umed.models.policy import Policy

CONF = Path(__file__).parents[3] / "conf" / "critic"
FACTORIES = {p.stem: instantiate(OmegaConf.load(p)) for p in sorted(CONF.glob("*.yaml"))}
LORA = {"r": 4, "lora_alpha": 8}
IDS = torch.randint(10, 100, (2, 5), generator=torch.Generator().manual_seed(0))
MASK = torch.ones(2, 5, dtype=torch.bool)
Make = Callable[..., Policy]
Prompts = Callable[..., list[Prompt]]


@pytest.fixture(scope="module", params=FACTORIES)
def critic(request: pytest.FixtureRequest) -> Callable[..., Critic]:
    return FACTORIES[request.param]


@pytest.fixture(scope="module")
def fresh(policy: Make, critic: Callable[..., Critic]) -> Policy:
    """As it is built; a test that changes a weight builds its own."""
    return policy(adapter=LORA, critic=critic)


@pytest.fixture(scope="module")
def awake(policy: Make, critic: Callable[..., Critic]) -> Policy:
    """With a head that is no longer 0; only gradients are written to it."""
    pi = policy(adapter=LORA, critic=critic)
    torch.manual_seed(0)
    torch.nn.init.normal_(pi.value_head.layers[-1].weight)
    return pi


def test_there_are_critics() -> None:
    assert FACTORIES.keys() >= {"shared", "adapter", "separate"}
    for factory in FACTORIES.values():
        check_critic(factory)


def test_zero_at_first_and_then_of_the_picture(fresh: Policy, awake: Policy, make_prompts: Prompts) -> None:
    a, b = make_prompts(2, (56, 56))
    b = replace(a, inputs=a.inputs | {"pixel_values": b.inputs["pixel_values"]}, features=None)
    assert (fresh.score([a], IDS[:1], MASK[:1]).values_BT == 0).all()
    one, other = (awake.score([p], IDS[:1], MASK[:1]).values_BT for p in (a, b))
    assert one.dtype == torch.float32 and one.shape == (1, 5) and (one - other).abs().max() > 1e-3


def test_each_loss_moves_its_own_part_alone(awake: Policy, policy: Make, make_prompts: Prompts) -> None:
    prompts = make_prompts(2)
    scores = awake.score(prompts, IDS, MASK)
    plain = policy(adapter=LORA).score(make_prompts(2), IDS, MASK)
    torch.testing.assert_close(scores.logp_BT, plain.logp_BT, atol=1e-5, rtol=0)
    critic, head = list(awake.critic.body()), list(awake.value_head.parameters())

    def moved(params: list[torch.nn.Parameter]) -> int:
        return sum(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in params)

    awake.zero_grad()
    scores.values_BT.square().sum().backward(retain_graph=True)
    assert not moved(awake.body()) and moved(head) == len(head) and bool(moved(critic)) == bool(critic)
    awake.zero_grad()
    scores.logp_BT.sum().backward()
    assert moved(awake.body()) and not moved(critic) and not moved(head)


def test_body_and_critic_share_no_weight(fresh: Policy) -> None:
    body, of_critic = ({id(p) for p in ps} for ps in (fresh.body(), fresh.critic.body()))
    assert body and not body & of_critic
    trained = {id(p) for p in fresh.parameters() if p.requires_grad}
    assert trained == body | of_critic | {id(p) for p in fresh.value_head.parameters()}


def test_it_survives_its_folder_and_another_critic_does_not_take_its_head(
    policy: Make, make_prompts: Prompts, tmp_path: Path, critic: Callable[..., Critic]
) -> None:
    pi = policy(adapter=LORA, critic=critic)
    torch.manual_seed(0)
    torch.nn.init.normal_(pi.value_head.layers[-1].weight)
    with torch.no_grad():
        for p in pi.critic.body():
            p += 0.1
    save_adapter(pi, tmp_path, {})
    again = policy(init_from=str(tmp_path), critic=critic)
    before, after = (x.eval().score(make_prompts(2), IDS, MASK).values_BT for x in (pi, again))
    torch.testing.assert_close(after, before, atol=0, rtol=0)
    trained = {n for n, p in again.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in pi.named_parameters() if p.requires_grad}
    others = [f for f in FACTORIES.values() if f is not critic]
    assert all((policy(init_from=str(tmp_path), critic=o).value_head.layers[-1].weight == 0).all() for o in others)


def test_files_of_another_critic_are_refused(policy: Make, tmp_path: Path, critic: Callable[..., Critic]) -> None:
    pi = policy(adapter=LORA, critic=critic)
    save_adapter(pi, tmp_path, {})
    for file in filter(Path.is_file, (tmp_path / "critic.safetensors", tmp_path / "critic" / TENSORS, tmp_path / HEAD)):
        whole = load_file(file)
        save_file({n: v for n, v in whole.items() if n != min(whole)}, file)
        with pytest.raises(InputError, match=rf"of this critic: .* {len(whole)} tensors, .* has {len(whole) - 1},"):
            policy(init_from=str(tmp_path), critic=critic) if file.name == HEAD else pi.critic.load(tmp_path)
        if file.name != HEAD:
            file.unlink()
            with pytest.raises(InputError, match="no such file"):
                pi.critic.load(tmp_path)
            save_file(whole, file)


class Halfway(Critic):
    """A stranger's, that forgot something."""


def test_what_is_no_critic_is_refused_by_its_class() -> None:
    with pytest.raises(InputError, match=r"critic \(.*Halfway\) lacks states"):
        check_critic(Halfway)
    with pytest.raises(InputError, match="derive it from umed.models.critics.base.Critic"):
        check_critic(torch.nn.Linear)
