"""Log-probabilities and attention against plain transformers, also in training and after saving."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from umed.errors import InputError
from umed.models.load import save_adapter
from umed.models.policy import Policy
from umed.rollout import Answers
from umed.synthetic.parity.tiny_model import CANDIDATES, TinyModel, logp_of, sample_answers


def log_probs(tiny: TinyModel) -> float:
    """Sampled log-probs against teacher-forced ones and against plain transformers: left padding, two sizes, G = 2."""
    answers = tiny.answers
    with torch.no_grad():
        scores = tiny.policy.score(tiny.prompts, answers.ids_BT, answers.mask_BT)
    scored = (scores.logp_BT - answers.logp_BT)[answers.mask_BT].abs().max()
    return max(float(scored), _from_plain(tiny.outputs, tiny.policy, answers, answers.logp_BT))


def _from_plain(outputs: Sequence[Any], policy: Policy, answers: Answers, logp_BT: Tensor) -> float:
    """Largest difference of log-probs from those of a plain model."""
    worst = 0.0
    for output, ids, mask, logp in zip(outputs, answers.ids_BT, answers.mask_BT, logp_BT, strict=True):
        expected = logp_of(output.logits, policy, ids[mask].tolist())
        worst = max(worst, float((expected - logp[mask]).abs().max()))
    return worst


def attention(tiny: TinyModel) -> float:
    """Recorded attention rows against eager maps; a family without them must refuse, which counts as 0."""
    policy, answers = tiny.policy, tiny.answers
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
        prompt, count, maps = tiny.prompts[b // CANDIDATES], int(mask.sum()), tiny.outputs[b].attentions
        images = prompt.inputs["input_ids"] == tiny.processor.image_id
        mean = torch.stack([m[0].mean(0) for m in maps if m is not None]).mean(0)
        expected = mean[-count:, : len(images)][:, images]
        if prompt.view.queries:  # their attention to the patches, composed
            expected = expected @ tiny.outputs[b].query_attentions[0]
        worst = max(worst, float((recorded[b, :count, : expected.shape[1]] - expected).abs().max()))
    return worst


def in_training(tiny: TinyModel) -> float:
    """Answers sampled in train mode, with dropout and gradient checkpointing on, against those in eval mode."""
    expected = tiny.adapted_answers
    answers = sample_answers(tiny.adapted.train(), tiny.prompts)
    tiny.adapted.eval()
    if not torch.equal(expected.ids_BT, answers.ids_BT):
        return float("inf")
    return float((expected.logp_BT - answers.logp_BT).abs().max())


def adapter(tiny: TinyModel) -> float:
    """Log-probs of an adapter that was saved and loaded again, by us and by plain PEFT, against those before."""
    policy, answers = tiny.adapted, tiny.adapted_answers
    with TemporaryDirectory() as folder, torch.no_grad():
        save_adapter(policy, Path(folder), {})
        again = tiny.load(init_from=folder, seed=1).eval()
        before, after = (p.score(tiny.prompts, answers.ids_BT, answers.mask_BT).logp_BT for p in (policy, again))
        plain = PeftModel.from_pretrained(deepcopy(tiny.plain), folder).eval()
        outputs = tiny.plain_outputs(plain, answers)
        return max(float((before - after).abs().max()), _from_plain(outputs, policy, answers, before))
