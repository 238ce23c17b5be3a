"""Training on an accelerator gives the CPU's numbers: every method, credit, critic, reward and KL penalty."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import CONF
from hydra.utils import instantiate
from omegaconf import OmegaConf
from on_device import equal_numbers, fit, same_on

from umed.callbacks.validation import Validation
from umed.chat import Prompt
from umed.engine.budget import Budget
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.credit.gae import GaeCredit
from umed.methods.credit.group import GroupCredit
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective
from umed.methods.sft import AbnormalAwareTuning
from umed.models.critics.shared import SharedCritic
from umed.models.policy import Policy
from umed.rewards.total import TotalReward

LORA = {"r": 4, "lora_alpha": 8, "init_lora_weights": False}


def read(group: str) -> dict[str, Any]:
    """What the yamls of a group make, by name."""
    yamls = {p.stem: OmegaConf.load(p) for p in sorted((CONF / group).glob("*.yaml"))}
    around = {"objective": {"c1": 1.0}, "judge": {"_target_": "umed.judges.overlap.OverlapJudge"}}
    return dict(instantiate(OmegaConf.create({**around, "made": yamls})).made)


CREDITS, CRITICS = read("credit"), read("critic")
PARTS = {name: part for of in read("reward").values() for name, part in of.items()}
WITH: dict[str, dict[str, Any]] = {  # what is proven beside the credit or critic
    "shared": {"max_new_tokens": 9},
    "adapter": {"kl": partial(Kl, 0.5, where="loss")},
    "rloo": {"kl": partial(Kl, 0.5, "k1", target=0.1, horizon=10)},
    "group": {"num_epochs": 2},
}
CASES: dict[str, dict[str, Any]] = {
    **{f"critic {name}": {"critic": critic, **WITH.get(name, {})} for name, critic in CRITICS.items()},
    **{f"credit {name}": {"credit": credit, **WITH.get(name, {})} for name, credit in CREDITS.items() if name != "gae"},
}
MORE: dict[str, dict[str, Any]] = {
    "span": {"credit": GroupCredit(scope="span")},
    "differentiable": {"objective": {"reward_term": "differentiable", "entropy_target": 1.0}},
    "score function": {"objective": {"reward_term": "score_function"}},
    "literal": {"literal": True, "num_epochs": 2},
    "predictor": {"row": "predictor", "looking": "name"},
    "micro-batches": {"budget": 200, "num_epochs": 2},
    "critic warm-up": {"critic_warmup": 1},
    "sequences": {"objective": {"aggregation": "seq_mean", "dual_clip": 2.0, "clip_eps_high": 0.3}, "num_epochs": 2},
    "all weights": {"adapter": None},
    "checkpointing": {"gradient_checkpointing": True},
}
Make, Prompts = Callable[..., Policy], Callable[..., list[Prompt]]


def rewarding(
    policy: Make,
    credit: Any = None,
    objective: dict[str, Any] | None = None,
    adapter: Any = LORA,
    literal: bool = False,
    gradient_checkpointing: bool = False,
    budget: int | None = None,
    kl: Callable[[], Kl] = Kl,
    **settings: Any,
) -> AbnormalAwareRewarding:
    options = {
        "lr": 1e-3, "batch_size": 2, "steps": 1, "num_candidates": 2, "max_new_tokens": 4, "num_epochs": 1,
        "num_minibatches": 1, "looking": "answer", "critic": SharedCritic,
    } | settings  # fmt: skip
    reading = {"advantage_in_reward": "literal", "credit": GaeCredit()} if literal else {}
    build = partial(policy, adapter=adapter, gradient_checkpointing=gradient_checkpointing)
    return AbnormalAwareRewarding(
        build,
        seed=0,
        rewards=TotalReward(PARTS, options["num_candidates"], **reading),
        credit=credit or GaeCredit(),
        objective=partial(ClippedObjective, **(objective or {})),
        budget=Budget(budget),
        kl=kl(),
        **options,
    )


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in MORE)])
def test_rewarding(case: str, pretend: torch.device, policy: Make, make_prompts: Prompts) -> None:
    def run(device: torch.device) -> tuple[list[dict[str, float]], list[torch.Tensor], list[torch.Tensor]]:
        method, ids = rewarding(policy, **{**CASES, **MORE}[case]), []
        step = method.training_step

        def keep_ids(*args: Any) -> Any:
            outputs = step(*args)
            ids.append(outputs["batch"].ids_BT.cpu())
            return outputs

        method.training_step = keep_ids  # type: ignore[method-assign]
        _, logged = fit(method, [make_prompts(2)], device)
        return logged, ids, [p.detach().cpu() for p in method.policy.parameters() if p.requires_grad]

    (found, ids, weights), (expected, expected_ids, expected_weights) = same_on(pretend, run)
    equal_numbers(found, expected)
    assert expected[0]["policy/skipped"] == 0 and {f"reward/{name}" for name in PARTS} <= set(expected[0])
    assert ids and all(torch.equal(a, b) for a, b in zip(ids, expected_ids, strict=True))
    for a, b in zip(weights, expected_weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_tuning_and_validation(pretend: torch.device, policy: Make, make_prompts: Prompts, tmp_path: Path) -> None:
    def run(device: torch.device) -> tuple[list[dict[str, float]], dict[str, float], list[str]]:
        build = partial(policy, adapter=LORA)
        method = AbnormalAwareTuning(build, seed=0, lr=1e-3, batch_size=3, steps=1, max_new_tokens=4, budget=Budget(90))
        validation = Validation()
        trainer, logged = fit(
            method, [make_prompts(3)], device, [make_prompts(2)], callbacks=[validation], num_sanity_val_steps=0
        )
        told = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        return logged, told, [p.output for p in validation.predictions]

    (found, told, outputs), (expected, expected_told, expected_outputs) = same_on(pretend, run)
    equal_numbers([*found, told], [*expected, expected_told])
    assert outputs == expected_outputs and "val/mau/iou/avg" in told and expected[0]["sft/loss"] > 0
