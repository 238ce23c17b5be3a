"""GRPO here is TRL's: the same injected rollout gives the same loss and gradients. Needs the extra `bench`."""

from copy import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from umed.methods.credit.group import group_advantage
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective, total_weight
from umed.models.family import with_answer
from umed.rollout import Rollout
from umed.tasks import parity

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
trl = pytest.importorskip("trl", reason="pip install 'umed[bench]'")
G, T = 3, 6
LOSSES = {"dapo": "token_mean", "bnpo": "token_mean", "grpo": "seq_mean", "dr_grpo": "constant"}


def their_processor(tiny: parity.Tiny) -> Any:
    """The family's processor of transformers without the video half, which needs torchvision."""
    from transformers import ProcessorMixin, Qwen2_5_VLProcessor

    class Pictures(Qwen2_5_VLProcessor):
        def __init__(self, image_processor: Any, tokenizer: Any, chat_template: Any = None) -> None:
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return ["image_processor", "tokenizer"]

    return Pictures(tiny.processor.image_processor, tiny.processor.tokenizer, tiny.processor.tokenizer.chat_template)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return parity.Tiny("qwen2_5_vl", tmp_path_factory.mktemp("trl"))


@pytest.fixture(scope="module")
def rollout(tiny: parity.Tiny) -> Rollout:
    """Two pictures of different size, three answers each of unequal length; old log-probs that make clipping bite."""
    from umed.methods.sampler import Sampler

    made = Sampler(G, T)(tiny.policy(), tiny.prompts, frozenset(), torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(1)
    mask = made.mask_BT & (torch.arange(T) < torch.tensor([6, 2, 4, 1, 5, 6])[:, None])
    reward = torch.tensor([0.1, 0.9, 0.4, 0.0, 0.0, 1.5])
    advantages = group_advantage(reward, G, "group")[:, None].expand(mask.shape) * mask
    near, far = (made.logp_BT + s * torch.randn(mask.shape, generator=rng) for s in (0.3, 0.5))
    return made.updated(mask_BT=mask, logp_BT=near, ref_logp_BT=far, advantages_BT=advantages)


def theirs(tiny: parity.Tiny, rollout: Rollout, loss: str, beta: float, out: Path) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of their trainer on our rollout."""
    from datasets import Dataset
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny.folder, dtype=torch.float32)
    settings = {
        "output_dir": str(out), "loss_type": loss, "beta": beta, "num_generations": G, "max_completion_length": T,
        "per_device_train_batch_size": 2 * G, "gradient_accumulation_steps": 1, "gradient_checkpointing": False,
        "bf16": False, "use_cpu": True, "report_to": [], "temperature": 1.0, "epsilon": 0.2,
        "use_bias_correction_kl": False,  # ours: the plain estimate of the equation
    }  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=trl.GRPOConfig(**settings),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "x"}]}] * 2),
        processing_class=their_processor(tiny),
    )
    trainer.current_gradient_accumulation_steps = 1
    each = [p for p in tiny.prompts for _ in range(G)]
    batch = tiny.processor.collate(each)
    names = ("input_ids", "attention_mask", "mm_token_type_ids")
    longer = with_answer(tiny.backbone, {n: batch[n] for n in names}, rollout.ids_BT, rollout.mask_BT)
    inputs = {
        "prompt_ids": batch["input_ids"], "prompt_mask": batch["attention_mask"],
        "completion_ids": rollout.ids_BT, "completion_mask": rollout.mask_BT.long(),
        "advantages": rollout.advantages_BT[:, 0], "old_per_token_logps": rollout.logp_BT,
        "ref_per_token_logps": rollout.ref_logp_BT, "num_items_in_batch": rollout.mask_BT.sum(),
        "pixel_values": batch["pixel_values"], "image_grid_thw": batch["image_grid_thw"],
        "num_images": [1] * len(each), "mm_token_type_ids": longer["mm_token_type_ids"],
    }  # fmt: skip
    trainer.model.train()
    found = trainer._compute_loss(trainer.model, inputs)
    found.backward()
    return found.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("beta", [0.0, 0.2])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_and_gradients_are_theirs(
    tiny: parity.Tiny, rollout: Rollout, loss: str, beta: float, tmp_path: Path
) -> None:
    policy = tiny.policy().train()
    policy.processor = copy(policy.processor)
    policy.processor.suppressed_ids = ()  # theirs suppresses image tokens when sampling, but not when scoring
    objective = ClippedObjective(c2=0.0, c3=0.0, aggregation=LOSSES[loss], max_length=T)
    objective.kl = Kl(beta, "k3", "loss")
    ours, parts = objective(policy, rollout, total_weight(rollout.mask_BT, objective.aggregation))
    ours.backward()
    assert 0.05 < float(parts["policy/clipfrac"]) / (1 if LOSSES[loss] != "constant" else 0.5) < 0.95
    expected, gradients = theirs(tiny, rollout, loss, beta, tmp_path)
    torch.testing.assert_close(ours.detach(), expected, atol=1e-5, rtol=0)
    mine = {n: p.grad for n, p in policy.core.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    largest = max(float(g.abs().max()) for g in gradients.values())
    assert largest > 1e-2 and mine.keys() <= gradients.keys()
    worst = max(float((mine.get(n, torch.zeros(())) - g).abs().max()) for n, g in gradients.items()) / largest
    print(f"{loss} beta={beta}: loss differs by {float(ours - expected):.1e}, gradients by {worst:.1e} of the largest")
    assert worst < 1e-5


def test_advantages_are_theirs(tiny: parity.Tiny) -> None:
    """Theirs divide by the sample spread plus 1e-4, ours by the population spread: the same up to that factor."""
    reward = torch.tensor([0.1, 0.9, 0.4, 0.0, 0.0, 1.5])
    groups = reward.view(-1, G)
    grpo = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).flatten()
    factor = (G / (G - 1)) ** 0.5
    torch.testing.assert_close(group_advantage(reward, G, "group") / factor, grpo, atol=1e-3, rtol=0)
