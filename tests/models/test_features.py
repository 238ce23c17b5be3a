"""A picture is encoded once a query while nothing that makes its features is trained."""

from collections.abc import Callable

import pytest
import torch

from umed.chat import Prompt
from umed.models import picture_encoder, reader
from umed.models.noise import Noise
from umed.models.policy import Policy

IMAGE_TOKENS = True
LORA = {"r": 4, "lora_alpha": 8}
Make = Callable[..., Policy]
Prompts = Callable[..., list[Prompt]]


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of pictures of each call that encodes some."""
    counted, split = [], picture_encoder.split_features
    monkeypatch.setattr(
        picture_encoder, "split_features", lambda out, prompts: counted.append(len(prompts)) or split(out, prompts)
    )
    return counted


def through_the_tower(pi: Policy) -> list[int]:
    """Grows by one with every pass of the tower."""
    passes = []
    tower = getattr(pi.core.model, pi.backbone.tower[0])
    tower.register_forward_hook(lambda *_: passes.append(1))
    return passes


def test_once_a_query_for_all_answers_and_all_passes(policy: Make, make_prompts: Prompts, encodings: list[int]) -> None:
    pi, prompts = policy(adapter=LORA), make_prompts(3)
    passes = through_the_tower(pi)
    answers = pi.sample(prompts, 4, 5, noise=Noise(0))
    for _ in range(3):  # old, new and reference log-probs, and values
        pi.score(prompts, answers.ids_BT, answers.mask_BT)
    assert encodings == [3] and len(passes) == 1


def test_the_same_as_encoding_each_time(policy: Make, make_prompts: Prompts, monkeypatch: pytest.MonkeyPatch) -> None:
    pi, prompts = policy(adapter=LORA), make_prompts(3)
    answers = pi.sample(prompts, 2, 5, noise=Noise(0))
    kept = pi.score(prompts, answers.ids_BT, answers.mask_BT).logp_BT
    monkeypatch.setattr(reader, "is_frozen", lambda *_: False)
    fresh = pi.score(prompts, answers.ids_BT, answers.mask_BT).logp_BT
    torch.testing.assert_close(kept, fresh, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"adapter": {"r": 4, "target_modules": "all-linear"}}], ids=["full", "lora"])
def test_a_trained_tower_encodes_each_time_and_learns(
    policy: Make, make_prompts: Prompts, encodings: list[int], options: dict
) -> None:
    pi, prompts = policy(**options), make_prompts(2)
    passes = through_the_tower(pi)
    ids, mask = torch.full((2, 3), 20), torch.ones(2, 3, dtype=torch.bool)
    for _ in range(2):
        pi.score(prompts, ids, mask).logp_BT.sum().backward()
    assert not encodings and len(passes) == 2
    tower = getattr(pi.core.model, pi.backbone.tower[0])
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters())


def test_features_of_other_weights_are_not_taken(policy: Make, make_prompts: Prompts, encodings: list[int]) -> None:
    """And those of the same weights are, whatever model they are in, until a weight is written to."""
    prompts = make_prompts(3)
    ids, mask = torch.full((3, 3), 20), torch.ones(3, 3, dtype=torch.bool)
    one, two = policy(adapter=LORA), policy(adapter=LORA)
    for pi in (one, two):
        pi.score(prompts, ids, mask)
    assert encodings == [3]
    tower = getattr(two.core.model, two.backbone.tower[0])
    with torch.no_grad():
        next(tower.parameters()).mul_(2)
    fresh = two.score(prompts, ids, mask).entropy_BT
    assert encodings == [3, 3]
    assert not torch.equal(fresh, one.score(prompts, ids, mask).entropy_BT)


def test_a_frozen_tower_encodes_in_eval_mode_whatever_the_rest_does(
    policy: Make, make_prompts: Prompts, encodings: list[int]
) -> None:
    """And the picture of a prompt that occurs twice only once."""
    pi, (one, two, three), modes = policy(adapter=LORA).train(), make_prompts(3), []
    tower = getattr(pi.core.model, pi.backbone.tower[0])
    tower.register_forward_hook(lambda module, *_: modes.append(module.training))
    pi.score([one, two, three, one], torch.full((4, 3), 20), torch.ones(4, 3, dtype=torch.bool))
    assert modes == [False] and encodings == [3] and tower.training
