"""Every family on an accelerator: answers, scores, attention and gradients are those of the CPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from on_device import same_on

from umed.chat import Prompt
from umed.engine.engine import Engine
from umed.engine.likelihood import class_probabilities
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.synthetic.tiny_models import backbone_of, family_names

ALWAYS = ("qwen3_vl", "gemma3")  # multimodal positions; a prompt that sees itself, and capped scores
LORA = {"r": 4, "init_lora_weights": False}
NAMES = torch.tensor([[1, -1], [2, 3], [0, 1], [-1, -1]])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    always = ALWAYS if metafunc.function is test_answers_and_gradients else ()
    families = [pytest.param(n, marks=[] if n in always else [pytest.mark.slow]) for n in family_names()]
    metafunc.parametrize("family", families, indirect=True, scope="session")


def test_answers_and_gradients(
    family: str, pretend: torch.device, policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    shows = not backbone_of(family).no_attention

    def run(device: torch.device) -> list[torch.Tensor]:
        pi, prompts = policy(adapter=LORA, device=str(device)), make_prompts(2)
        answers = pi.sample(prompts, 2, 4, noise=Noise(0))
        scores = pi.score(prompts, answers.ids_BT, answers.mask_BT, NAMES.to(device) if shows else None)
        (scores.logp_BT + scores.entropy_BT + scores.attention_BNP.sum((1, 2))[:, None]).sum().backward()
        gradients = [p.grad.norm() for p in pi.body() if p.grad is not None]
        told = [answers.ids_BT, answers.logp_BT, scores.logp_BT, scores.attention_BNP, torch.stack(gradients)]
        return [t.detach().cpu() for t in told]

    compare(*same_on(pretend, run))


def test_checkpointing_all_weights_and_class_probabilities(
    family: str, pretend: torch.device, policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    ids = torch.randint(10, 100, (4, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(5) < torch.tensor([5, 3, 4, 1])[:, None]

    def run(device: torch.device) -> list[torch.Tensor]:
        told: list[torch.Tensor] = []
        for options in ({"adapter": LORA, "gradient_checkpointing": True}, {}):
            pi: Any = policy(device=str(device), **options)
            logp_BT = pi.score(make_prompts(2), ids.to(device), mask.to(device)).logp_BT
            logp_BT.sum().backward()
            told += [logp_BT, torch.stack([p.grad.norm() for p in pi.body() if p.grad is not None])]
        likely = class_probabilities(Engine(pi), make_prompts(2), [{"a": "stone", "b": "a cyst"}] * 2)
        told.append(torch.tensor([list(of.values()) for of in likely]))
        return [t.detach().cpu() for t in told]

    compare(*same_on(pretend, run))


def compare(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    """Whole numbers are equal, others but for rounding."""
    for one, other in zip(found, expected, strict=True):
        assert one.numel() or not other.numel()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
