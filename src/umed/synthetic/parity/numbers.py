"""Log-probabilities and attention against plain transformers, also in training and after saving."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForImageTextToText

from umed.errors import InputError
from umed.models.load import save_adapter
from umed.models.policy import Policy
from umed.rollout import Answers
from umed.synthetic.parity.tiny_model import CANDIDATES, TinyModel, plain_inputs, plain_logp, sample_answers


def log_probs(tiny: TinyModel) -> float:
    """Sampled log-probs against teacher-forced ones and against plain transformers: left padding, two sizes, G = 2."""
    answers = sample_answers(tiny.policy, tiny.prompts)
    with torch.no_grad():
        scores = tiny.policy.score(tiny.prompts, answers.ids_BT, answers.mask_BT)
    scored = (scores.logp_BT - answers.logp_BT)[answers.mask_BT].abs().max()
    return max(float(scored), _from_plain(tiny, tiny.plain, tiny.policy, answers, answers.logp_BT))


def _from_plain(tiny: TinyModel, model: Any, policy: Policy, answers: Answers, logp_BT: Tensor) -> float:
    """Largest difference of log-probs from those of a plain model."""
    worst = 0.0
    for b, (ids, mask) in enumerate(zip(answers.ids_BT, answers.mask_BT, strict=True)):
        expected = plain_logp(model, policy, tiny.prompts[b // CANDIDATES], ids[mask].tolist())
        worst = max(worst, float((expected - logp_BT[b][mask]).abs().max()))
    return worst


def attention(tiny: TinyModel) -> float:
    """Recorded attention rows against eager maps; a family without them must refuse, which counts as 0."""
    policy = tiny.policy
    answers = sample_answers(policy, tiny.prompts)
    rows = torch.arange(1, answers.ids_BT.shape[1] + 1).expand(answers.ids_BT.shape)
    rows = torch.where(answers.mask_BT, rows, -1)
    if tiny.backbone.no_attention:
        try:
            policy.score(tiny.prompts, answers.ids_BT, answers.mask_BT, rows)
        except InputError:
            return 0.0
        return float("inf")
    with torch.no_grad():
        recorded = policy.score(tiny.prompts, answers.ids_BT, answers.mask_BT, rows).attention_BNP
    worst = 0.0
    for b, mask in enumerate(answers.mask_BT):
        prompt, answer = tiny.prompts[b // CANDIDATES], answers.ids_BT[b][mask].tolist()
        with torch.no_grad():
            maps = tiny.plain(**plain_inputs(tiny.backbone, prompt, answer), output_attentions=True).attentions
        images = prompt.inputs["input_ids"] == tiny.processor.image_id
        mean = torch.stack([m[0].mean(0) for m in maps if m is not None]).mean(0)
        expected = mean[-len(answer) :, : len(images)][:, images]
        worst = max(worst, float((recorded[b, : len(answer), : expected.shape[1]] - expected).abs().max()))
    return worst


def in_training(tiny: TinyModel) -> float:
    """Answers sampled in train mode, with dropout and gradient checkpointing on, against those in eval mode."""
    expected = sample_answers(tiny.adapted, tiny.prompts)
    answers = sample_answers(tiny.adapted.train(), tiny.prompts)
    tiny.adapted.eval()
    if not torch.equal(expected.ids_BT, answers.ids_BT):
        return float("inf")
    return float((expected.logp_BT - answers.logp_BT).abs().max())


def adapter(tiny: TinyModel) -> float:
    """Log-probs of an adapter that was saved and loaded again, by us and by plain PEFT, against those before."""
    policy = tiny.adapted
    answers = sample_answers(policy, tiny.prompts)
    with TemporaryDirectory() as folder, torch.no_grad():
        save_adapter(policy, Path(folder), {})
        again = tiny.load(init_from=folder, seed=1).eval()
        before, after = (p.score(tiny.prompts, answers.ids_BT, answers.mask_BT).logp_BT for p in (policy, again))
        base: Any = AutoModelForImageTextToText.from_pretrained(tiny.folder, attn_implementation="eager")
        plain = PeftModel.from_pretrained(base, folder).eval()
        return max(float((before - after).abs().max()), _from_plain(tiny, plain, policy, answers, before))
