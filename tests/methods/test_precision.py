"""Settings with which weights learn, in a step on the CPU, and those with which they would not."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from umed.chat import Prompt
from umed.errors import InputError
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.base import Method
from umed.methods.credit.gae import GaeCredit
from umed.methods.objective import ClippedObjective
from umed.methods.precision import check_precision, check_trained
from umed.methods.sft import AbnormalAwareTuning
from umed.models.critics.adapter import AdapterCritic
from umed.models.critics.separate import SeparateCritic
from umed.models.critics.shared import SharedCritic
from umed.models.policy import Policy
from umed.rewards.base import Reward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward
from umed.rollout import Rollout

LORA = {"r": 4}  # of the language model: a critic=adapter can stand beside it


class FirstToken(Reward):
    max_normalized = False

    def __call__(self, rollout: Rollout) -> Tensor:
        return (rollout.ids_BT[:, 0] % 7).float() / 7


def rewarding(policy: Policy, critic: Any) -> Method:
    return AbnormalAwareRewarding(
        lambda **_: policy,
        seed=0,
        lr=1e-3,
        batch_size=2,
        steps=1,
        schedule="constant",
        warmup=0.0,
        num_candidates=3,
        max_new_tokens=5,
        num_minibatches=1,
        rewards=TotalReward({"relevance": FirstToken(), "vision_relevance": VisionRelevanceReward()}, 3),
        credit=GaeCredit(),
        objective=partial(ClippedObjective, reward_term="differentiable"),
        critic=critic,
        looking="answer",
    )


def tuning(policy: Policy, critic: Any) -> Method:
    return AbnormalAwareTuning(
        lambda **_: policy, seed=0, lr=1e-3, batch_size=2, steps=1, schedule="constant", warmup=0.0
    )


def slow(*values: object) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("dtype", "precision", "adapter", "critic", "build"),
    [
        ("float32", "bf16-mixed", None, SeparateCritic, rewarding),
        ("bfloat16", "32-true", LORA, AdapterCritic, rewarding),
        slow("float32", "bf16-mixed", None, SharedCritic, rewarding),
        slow("float32", "bf16-mixed", LORA, AdapterCritic, rewarding),
        slow("float32", "bf16-mixed", LORA, SeparateCritic, rewarding),
        slow("bfloat16", "32-true", LORA, SharedCritic, rewarding),
        slow("bfloat16", "32-true", LORA, SeparateCritic, rewarding),
        slow("bfloat16", "bf16-mixed", LORA, SharedCritic, rewarding),
        slow("bfloat16", "bf16-mixed", LORA, AdapterCritic, rewarding),
        slow("bfloat16", "bf16-mixed", LORA, SeparateCritic, rewarding),
        slow("float32", "bf16-mixed", None, SharedCritic, tuning),
        slow("bfloat16", "32-true", LORA, SharedCritic, tuning),
        slow("bfloat16", "bf16-mixed", LORA, SharedCritic, tuning),
    ],
)
def test_what_is_trained_is_in_fp32_and_moves(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    train: Callable,
    dtype: str,
    precision: Any,
    adapter: dict | None,
    critic: Any,
    build: Callable[[Policy, Any], Method],
) -> None:
    check_precision(precision, dtype, adapter is None)
    pi = policy(dtype=dtype, adapter=adapter, critic=critic)
    trained = {n: p for n, p in pi.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in trained.items()}
    method = build(pi, critic)
    (logged,) = train(method, [make_prompts(2)], precision=precision)
    names = ["policy/grad_norm", *(["policy/critic_grad_norm"] if build is rewarding else [])]
    assert logged["policy/skipped"] == 0 and all(0 < logged[name] < float("inf") for name in names)
    assert {p.dtype for p in trained.values()} == {torch.float32}
    states = method.optimizers().state.values()
    assert {s["exp_avg"].dtype for s in states} == {torch.float32}
    moved = {n for n, p in trained.items() if not torch.equal(p, before[n])}
    parts = {id(p) for p in pi.body()}, {id(p) for p in (*pi.critic.body(), *pi.value_head.parameters())}
    learned = [any(id(trained[n]) in part for n in moved) for part in parts]
    assert learned == [True, build is rewarding]
    assert all(p.isfinite().all() for p in trained.values())
    if build is rewarding:
        assert logged["reward/vision_relevance"] > 0


@pytest.mark.parametrize("precision", ["16-mixed", "16-true", "bf16-true", "64-true"])
def test_a_precision_that_would_not_train_is_refused(precision: str) -> None:
    with pytest.raises(InputError, match=f"trainer.precision={precision}: .*32-true or bf16-mixed"):
        check_precision(precision, "float32", False)


@pytest.mark.parametrize("precision", ["32-true", "32", "bf16-mixed", "bf16"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_whole_model_of_16_bits_is_refused_before_it_is_loaded(dtype: str, precision: str) -> None:
    with pytest.raises(InputError, match=f"model.dtype={dtype} where the model itself .*bf16-mixed") as error:
        check_precision(precision, dtype, True)
    assert "\n" not in str(error.value)


def test_an_adapter_on_a_model_of_fp16_is_refused() -> None:
    with pytest.raises(InputError, match="model.dtype=float16: .*bfloat16"):
        check_precision("32-true", "float16", False)


def test_trained_weights_of_16_bits_are_refused_by_name(policy: Callable[..., Policy]) -> None:
    """A whole model, and whole modules beside an adapter, whose own weights are in fp32."""
    for critic in (SharedCritic, AdapterCritic, SeparateCritic):
        check_trained(policy(dtype="bfloat16", adapter=LORA, critic=critic).named_parameters())
    beside = {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["norm"]}
    for adapter, name in (
        (None, r"\d\d trained weights .*weight"),
        (beside, r"\d trained weights .*norm.modules_to_save\S*"),
    ):
        with pytest.raises(InputError, match=rf"{name} \(bfloat16\): .*model.dtype=float32") as error:
            check_trained(policy(dtype="bfloat16", adapter=adapter).named_parameters())
        assert "\n" not in str(error.value)
