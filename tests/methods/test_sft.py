"""Equation (2) on answer tokens only."""

from collections.abc import Callable

import pytest
import torch
from transformers import AutoModelForImageTextToText

from umed.chat import Prompt
from umed.methods.sft import AbnormalAwareTuning
from umed.models.policy import Policy


def test_the_loss_is_that_of_transformers_labels(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    pi, prompts = policy(temperature=0.7), make_prompts(3)  # the temperature is that of sampling alone
    model = AutoModelForImageTextToText.from_pretrained(pi.core.name_or_path).eval()
    total = count = 0.0
    for p in prompts:
        ids = torch.cat([p.inputs["input_ids"], p.answer])[None]
        labels = ids.clone()
        labels[:, : len(p.inputs["input_ids"])] = -100
        with torch.no_grad():
            out = model(
                input_ids=ids, labels=labels, mm_token_type_ids=(ids == pi.processor.image_id).long(),
                pixel_values=p.inputs["pixel_values"], image_grid_thw=p.inputs["image_grid_thw"],
            )  # fmt: skip
        total, count = total + float(out.loss) * len(p.answer), count + len(p.answer)
    method = AbnormalAwareTuning(lambda **_: pi, seed=0, lr=1e-3, batch_size=3, steps=1)
    (logged,) = train(method, [prompts])
    assert logged["sft/loss"] == pytest.approx(total / count, abs=1e-5)
    assert logged["sft/iteration"] == 0


def test_it_overfits_a_batch(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    pi, prompts = policy(), make_prompts(3, (56, 56))
    method = AbnormalAwareTuning(
        lambda **_: pi, seed=0, lr=5e-3, batch_size=3, steps=40, schedule="constant", warmup=0.0
    )
    logged = train(method, [prompts] * 40)
    assert logged[-1]["sft/loss"] < 0.1 * logged[0]["sft/loss"]
    answers = pi.eval().sample(prompts, 1, 40, greedy=True)
    assert not answers.truncated_B.any()  # the end is learned too
    said = [pi.processor.decode(i[m].tolist()) for i, m in zip(answers.ids_BT, answers.mask_BT, strict=True)]
    assert said == [pi.processor.decode(p.answer.tolist()) for p in prompts]
