"""On a GPU: the peak that CUDA's allocator counts is the one that was planned, within 15 %."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from composed import composed

from umed.chat import Prompt
from umed.engine.planner import MANY, Planner
from umed.models.critics.shared import SharedCritic
from umed.models.load import load_policy
from umed.synthetic.tiny_models import backbone_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
LENGTH, TEXT = 128, 64


def real(planned: Prompt) -> Prompt:
    """The planned prompt with a picture of noise."""
    pixels = {k: torch.randn(v.shape, dtype=v.dtype) for k, v in planned.inputs.items() if v.is_meta}
    return replace(planned, inputs={**planned.inputs, **pixels}, features=None)


@pytest.mark.parametrize("method", ["sft", "aar"])
def test_the_peak_is_the_planned_one(tmp_path: Path, method: str) -> None:
    """A 2B model with random weights in bf16 and an adapter: the second of two passes with gradients."""
    cfg = composed("task=plan", "model=qwen3_vl_2b", f"method={method}", f"method.max_new_tokens={LENGTH}")
    planner = Planner(cfg, TEXT)
    phase = planner.tuning(cfg.method) if method == "sft" else planner.rewarding(cfg.method)
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = backbone_of("qwen3_vl").model_class._from_config(planner.processor.config, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    del model
    dropout = None if method == "sft" else 0.0
    policy = load_policy(
        str(tmp_path), planner.processor, cfg.model.backbone, dict(cfg.model.adapter), dropout=dropout,
        dtype="bfloat16", device="cuda", critic=SharedCritic,
    )  # fmt: skip
    answers = 1 if method == "sft" else cfg.method.num_candidates
    prompts = [real(planner.prompts[i == 1]) for i in range(MANY)]
    ids = torch.zeros(MANY * answers, LENGTH, dtype=torch.long, device="cuda")
    mask = torch.ones_like(ids, dtype=torch.bool)

    def backward() -> None:
        scores = policy.score(prompts, ids, mask, values=method == "aar", plain=method == "sft")
        loss = scores.logp_BT if method == "sft" else scores.logp_BT + scores.entropy_BT + scores.values_BT
        loss.sum().backward()

    backward()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    backward()
    moments = 2 * sum(p.nbytes for p in policy.parameters() if p.requires_grad)
    tokens = MANY * (planner.prompt_tokens + answers * LENGTH)
    planned = phase.lines["gradients"].peak(tokens) - moments
    assert torch.cuda.max_memory_allocated() == pytest.approx(planned, rel=0.15)
