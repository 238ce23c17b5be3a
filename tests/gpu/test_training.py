"""Steps of both methods in the precisions of the recipes, and a resume to the last bit."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from on_device import CPU, fit
from torch.utils.data import IterableDataset

from umed.chat import Prompt
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.credit.gae import GaeCredit
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective
from umed.methods.sft import AbnormalAwareTuning
from umed.models.critics.adapter import AdapterCritic
from umed.models.policy import Policy
from umed.rewards.localization import LocalizationReward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward

LORA = {"r": 4, "lora_alpha": 8, "init_lora_weights": False, "lora_dropout": 0.1}
Make, Prompts = Callable[..., Policy], Callable[..., list[Prompt]]


def copies(weights: Any) -> list[torch.Tensor]:
    return [p.detach().cpu().clone() for p in weights]


def all_equal(some: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_of_tuning_in_bf16(
    device: torch.device, policy: Make, make_prompts: Prompts, precision: str, checkpointing: bool
) -> None:
    """Frozen weights in bf16 under an adapter in fp32: the loss is that of fp32 on the CPU but for rounding."""
    losses = []
    for where, dtype in ((CPU, "float32"), (device, "bfloat16")):
        build = partial(policy, adapter=LORA | {"lora_dropout": 0.0}, dtype=dtype)
        if dtype == "bfloat16":
            build = partial(build, gradient_checkpointing=checkpointing)
        method = AbnormalAwareTuning(build, seed=0, lr=1e-3, batch_size=2, steps=1, warmup=0.0)
        method.configure_model()
        body = method.policy.body()
        before = copies(body)
        how = {} if where == CPU else {"precision": precision}
        trainer, [logged] = fit(method, [make_prompts(2)], where, **how)
        losses.append(logged["sft/loss"])
        assert trainer.strategy.root_device == where
        assert logged["policy/skipped"] == 0 and not all_equal(before, copies(method.policy.body()))
    assert losses[1] == pytest.approx(losses[0], rel=0.03)
    assert {p.dtype for p in method.policy.body()} == {torch.float32}
    assert method.policy.core.get_input_embeddings().weight.dtype == torch.bfloat16


def rewarding(build: Callable[..., Policy], **settings: Any) -> AbnormalAwareRewarding:
    parts = {"localization": LocalizationReward(), "vision_relevance": VisionRelevanceReward()}
    options = {"num_epochs": 2, "num_minibatches": 1, "max_new_tokens": 10, "total_batches": 4} | settings
    return AbnormalAwareRewarding(
        build, seed=0, lr=1e-3, batch_size=2, steps=4, num_candidates=2, looking="answer", warmup=0.0,
        rewards=TotalReward(parts, 2), credit=GaeCredit(), objective=ClippedObjective, kl=Kl(0.1), **options,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_of_rewarding(device: torch.device, policy: Make, make_prompts: Prompts, dtype: str) -> None:
    """On policy at first, whatever the device; then both policy and critic move."""
    method = rewarding(partial(policy, adapter=LORA, dtype=dtype), num_epochs=1, critic=AdapterCritic)
    method.configure_model()
    bodies = [method.policy.body(), [*method.policy.critic.body(), *method.policy.value_head.parameters()]]
    before = [copies(body) for body in bodies]
    _, logged = fit(method, [make_prompts(2), make_prompts(2, seed=1)], device)
    assert all(math.isfinite(value) for line in logged for value in line.values())
    assert [line["policy/skipped"] for line in logged] == [0, 0]
    assert abs(logged[0]["policy/kl"]) < 1e-6 and logged[0]["policy/clipfrac"] == 0
    assert logged[0]["policy/kl_ref"] == pytest.approx(0, abs=1e-6) and logged[1]["policy/kl_ref"] > 0
    assert logged[0]["rollout/logp_gap_max"] < (1e-3 if dtype == "float32" else 0.3)
    assert logged[0]["reward/vision_relevance"] > 0
    for body, was in zip(bodies, before, strict=True):
        assert not all_equal(copies(body), was)


class Batches(IterableDataset[list[Prompt]]):
    """Two batches an epoch, those that the method has not had yet."""

    def __init__(self, batches: list[list[Prompt]], method: AbnormalAwareRewarding) -> None:
        self.batches, self.method = batches, method

    def __iter__(self) -> Any:
        yield from self.batches[self.method.iteration :][:2]


def test_a_resume_is_bit_exact(
    device: torch.device, policy: Make, make_prompts: Prompts, tmp_path: Path, deterministic: dict[str, bool]
) -> None:
    batches, build = [make_prompts(2, seed=i) for i in range(4)], partial(policy, adapter=LORA)

    def run(epochs: int, start: Path | None = None) -> tuple[list[torch.Tensor], Any]:
        method = rewarding(build)
        for batch in batches:
            for prompt in batch:
                prompt.features = None
        options = {"max_epochs": epochs, "default_root_dir": tmp_path, **deterministic}
        trainer, _ = fit(method, Batches(batches, method), device, resume=start, **options)
        return copies(p for p in method.policy.parameters() if p.requires_grad), trainer

    whole, _ = run(2)
    half, trainer = run(1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = run(2, tmp_path / "half.ckpt")
    assert all_equal(whole, resumed) and not all_equal(whole, half)
