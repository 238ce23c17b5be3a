"""GRPO here is TRL's: the same injected rollout gives the same loss and gradients. Needs the extra `bench`."""

from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn

from umed.bench.theirs import their_processor
from umed.engine.engine import Engine
from umed.methods.credit.group import GroupCredit, group_advantage
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective, total_weight
from umed.methods.sampler import Sampler
from umed.models.batch import append_answers
from umed.models.contexts import generating
from umed.models.load import save_adapter
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.rewards.localization import LocalizationReward
from umed.rewards.total import TotalReward
from umed.rollout import TrainingBatch
from umed.synthetic.parity import TinyModel

trl = pytest.importorskip("trl", reason="pip install 'umed[bench]'")
pytestmark = [
    pytest.mark.slow,
    # their config asks transformers for checkpointing by its old name
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
]

G, T, TEMPERATURE = 3, 6, 0.7
LIMIT = T + 2  # of an answer's length: above the longest, so that dividing by the wrong one shows
LENGTHS, REWARDS = (6, 2, 4, 1, 5, 6), (0.1, 0.9, 0.4, 0.0, 0.0, 1.5)
LOSSES: dict[str, Any] = {"dapo": "token_mean", "bnpo": "token_mean", "grpo": "seq_mean", "dr_grpo": "constant"}
PROCESSORS = {"qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}
LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "init_lora_weights": False}
Gradients = dict[str, Tensor]


@pytest.fixture(scope="module", params=PROCESSORS)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return TinyModel(request.param, tmp_path_factory.mktemp("trl"))


@pytest.fixture(scope="module")
def rollout(tiny: TinyModel) -> TrainingBatch:
    """Two pictures of different size, three answers each of unequal length; old log-probs that make clipping bite."""
    policy = tiny.load(temperature=TEMPERATURE)
    made = Sampler(G, T)(Engine(policy), tiny.prompts, frozenset(), Noise(0))
    mask = made.mask_BT & (torch.arange(made.mask_BT.shape[1]) < torch.tensor(LENGTHS)[:, None])
    assert len(mask.sum(1).unique()) > 2
    reward = torch.tensor(REWARDS)
    credit = GroupCredit(scale="group")(made.updated(mask_BT=mask), reward)
    rng = torch.Generator().manual_seed(1)
    stale, reference = (made.logp_BT + s * torch.randn(mask.shape, generator=rng) for s in (0.3, 0.5))
    added = {"advantages_BT": credit.advantages_BT, "returns_BT": credit.returns_BT, "reward_B": reward, "maxima": {}}
    return TrainingBatch.of(made, mask_BT=credit.mask_BT, logp_BT=stale, ref_logp_BT=reference, **added)


def our_policy(tiny: TinyModel, **options: Any) -> Policy:
    """Theirs suppresses image tokens when it samples, but not when it scores; so does this one."""
    policy = tiny.load(temperature=TEMPERATURE, **options)
    policy.processor = copy(policy.processor)
    policy.processor.suppressed_ids = ()
    return policy.train()


def gradients(model: nn.Module) -> Gradients:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def ours(policy: Policy, rollout: TrainingBatch, loss: str, beta: float) -> tuple[Tensor, Gradients]:
    rewards, kl = TotalReward({"localization": LocalizationReward()}, G), Kl(beta, "k3", "loss")
    objective = ClippedObjective(rewards, kl, c2=0.0, c3=0.0, aggregation=LOSSES[loss], max_length=LIMIT)
    found, _ = objective(policy, rollout, total_weight(rollout.mask_BT, objective.aggregation))
    found.backward()
    return found.detach(), gradients(policy.model)


def their_trainer(tiny: TinyModel, out: Path, adapter: Path | None = None, **options: Any) -> Any:
    """Their trainer on the same checkpoint, with the attention of transformers; rewards are `REWARDS`."""
    model: Any = transformers.AutoModelForImageTextToText.from_pretrained(tiny.folder, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
    rewards = options.pop("rewards", REWARDS)
    settings = {
        "output_dir": str(out), "num_generations": G, "max_completion_length": LIMIT, "temperature": TEMPERATURE,
        "per_device_train_batch_size": len(rewards), "gradient_accumulation_steps": 1, "gradient_checkpointing": False,
        "bf16": False, "use_cpu": True, "report_to": [], "epsilon": 0.2,
        "use_bias_correction_kl": False,  # ours: the plain estimate of the equation
    }  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: list(rewards),
        args=trl.GRPOConfig(**settings, **options),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "x"}]}] * 2),
        processing_class=their_processor(tiny.processor, PROCESSORS[tiny.family]),
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def theirs(tiny: TinyModel, trainer: Any, rollout: TrainingBatch, stale: bool = True) -> tuple[Tensor, Gradients]:
    """Loss and gradients of their trainer on our rollout; not `stale`: it takes its own log-probs for the old ones."""
    each = [p for p in tiny.prompts for _ in range(G)]
    batch = tiny.processor.collate(each)
    names = ("input_ids", "attention_mask", "mm_token_type_ids")
    longer = append_answers({n: batch[n] for n in names}, rollout.ids_BT, rollout.mask_BT)
    inputs = {
        "prompt_ids": batch["input_ids"], "prompt_mask": batch["attention_mask"],
        "completion_ids": rollout.ids_BT, "completion_mask": rollout.mask_BT.long(),
        "advantages": rollout.advantages_BT[:, 0], "old_per_token_logps": rollout.logp_BT if stale else None,
        "ref_per_token_logps": rollout.ref_logp_BT, "num_items_in_batch": rollout.mask_BT.sum(),
        "pixel_values": batch["pixel_values"], "image_grid_thw": batch["image_grid_thw"],
        "num_images": [1] * len(each), "mm_token_type_ids": longer["mm_token_type_ids"],
    }  # fmt: skip
    found = trainer.compute_loss(trainer.model, inputs)
    found.backward()
    return found.detach(), gradients(trainer.model)


def compare(name: str, mine: tuple[Tensor, Gradients], other: tuple[Tensor, Gradients]) -> None:
    """Losses agree to 1e-5, and so does every gradient, in units of the largest one."""
    (loss, found), (expected, wanted) = mine, other
    largest = max(float(g.abs().max()) for g in wanted.values())
    assert largest > 1e-2 and len(wanted) > 10
    assert found.keys() <= wanted.keys()
    worst = max(float((found.get(n, torch.zeros(())) - g).abs().max()) for n, g in wanted.items()) / largest
    print(f"{name}: loss differs by {float(loss - expected):.1e}, gradients by {worst:.1e} of the largest")
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
    assert worst < 1e-5


@pytest.mark.parametrize("beta", [0.0, 0.2])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradients_are_theirs(
    tiny: TinyModel, rollout: TrainingBatch, loss: str, beta: float, tmp_path: Path
) -> None:
    trainer = their_trainer(tiny, tmp_path, loss_type=loss, beta=beta)
    expected = theirs(tiny, trainer, rollout)
    assert 0.1 < trainer._metrics["train"]["clip_ratio/region_mean"][0] < 0.9  # tokens whose gradient is cut off
    compare(f"{tiny.family} {loss} beta={beta}", ours(our_policy(tiny), rollout, loss, beta), expected)


def test_the_first_pass_is_theirs(tiny: TinyModel, rollout: TrainingBatch, tmp_path: Path) -> None:
    """Where the old log-probs are the current ones, the ratio is 1 and nothing is clipped."""
    policy = our_policy(tiny)
    with torch.no_grad(), generating(policy):
        fresh = policy.score(rollout.prompts, rollout.ids_BT, rollout.mask_BT, values=False).logp_BT
    expected = theirs(tiny, their_trainer(tiny, tmp_path, loss_type="dapo", beta=0.2), rollout, stale=False)
    compare(f"{tiny.family} first pass", ours(policy, rollout.updated(logp_BT=fresh), "dapo", 0.2), expected)


def test_gradients_of_an_adapter_are_theirs(tiny: TinyModel, rollout: TrainingBatch, tmp_path: Path) -> None:
    policy = our_policy(tiny, adapter=LORA)
    save_adapter(policy, tmp_path / "adapter", {})
    trainer = their_trainer(tiny, tmp_path, tmp_path / "adapter", loss_type="dapo", beta=0.2)
    mine, expected = ours(policy, rollout, "dapo", 0.2), theirs(tiny, trainer, rollout)
    assert all(".default." in name for name in expected[1])
    compare(f"{tiny.family} LoRA", mine, expected)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_advantages_are_theirs(tiny: TinyModel, scale: str, tmp_path: Path) -> None:
    """Their own code on the same rewards: (ours * population spread) = (theirs * (sample spread + 1e-4)).

    A group of equal rewards, and an answer without a reward, get 0 on both sides.
    """
    rewards = [*REWARDS, 0.3, 0.3, 0.3, 0.2, None, 0.7]
    trainer = their_trainer(tiny, tmp_path, rewards=rewards, scale_rewards=scale)
    said: Any = ([[1]] * len(rewards), [[2]] * len(rewards), None, ["x"] * len(rewards), None, {}, None, None)
    trainer._generate = lambda prompts: said
    expected = trainer._generate_and_score_completions([{"prompt": "x"}] * len(rewards))["advantages"]
    values = torch.tensor([float("nan") if r is None else r for r in rewards])
    parts = values.view(-1, G) if scale == "group" else values[None]
    spreads = torch.tensor([[s[~s.isnan()].std(correction=c) for c in (0, 1)] for s in parts])
    factor = spreads[:, 0] / (spreads[:, 1] + 1e-4) if scale != "none" else torch.ones(1)
    found = group_advantage(values, G, scale) * factor.repeat_interleave(len(values) // len(factor))
    assert expected.abs().max() > 0.5 and expected[10] == 0
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
