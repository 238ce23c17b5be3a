"""Class probabilities against a plain full forward pass, label by label."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from umed.chat import Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.likelihood import class_probabilities
from umed.models.policy import Policy

LABELS = {"s": "A stone", "c": "cyst", "n": "No lung nodule is seen in this picture", "l": "A"}


def alone(policy: Policy, prompt: Prompt, text: str) -> float:
    """Mean log-probability of a text's tokens, its prompt and itself in one row, nothing shared and nothing padded."""
    ids = torch.tensor([policy.processor.encode(text)])
    batch = policy.processor.collate([prompt])
    whole = {k: v for k, v in batch.items() if k not in ("input_ids", "attention_mask", "mm_token_type_ids")}
    rows = {"input_ids": torch.cat([batch["input_ids"], ids], 1)}
    rows["attention_mask"] = torch.ones_like(rows["input_ids"])
    rows["mm_token_type_ids"] = torch.cat([batch["mm_token_type_ids"], torch.zeros_like(ids)], 1)
    logits = policy.model(**rows, **whole).logits[:, -ids.shape[1] - 1 : -1]
    return float(logits.log_softmax(-1).gather(-1, ids[..., None]).mean())


def test_probabilities_are_those_of_each_label_read_alone(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: FamilyProcessor
) -> None:
    made = policy().eval()
    made.temperature = 0.5  # of sampling alone
    prompts = make_prompts(3)
    orders = [dict(list(LABELS.items())[k:] + list(LABELS.items())[:k]) for k in range(3)]
    found = class_probabilities(made, prompts, orders)
    for prompt, order, said in zip(prompts, orders, found, strict=True):
        with torch.no_grad():
            logs = np.array([alone(made, prompt, text) for text in order.values()])
        assert list(said) == list(order)
        expected = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
        np.testing.assert_allclose(list(said.values()), expected, rtol=2e-5)
    assert len({round(v, 6) for said in found for v in said.values()}) > 8  # every picture and label differs


def test_a_picture_is_encoded_once_for_all_labels(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, prompts, calls = policy(), make_prompts(2), []
    own = made.core.model.visual.forward
    monkeypatch.setattr(made.core.model.visual, "forward", lambda *a, **k: calls.append(1) or own(*a, **k))
    class_probabilities(made, prompts, [LABELS] * 2)
    assert len(calls) <= len(prompts)  # a frozen tower: once a picture, whatever the number of labels
    assert made.training  # as it was


def test_an_empty_label_is_refused(policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]) -> None:
    with pytest.raises(InputError, match="answer text is empty"):
        class_probabilities(policy(), make_prompts(1), [{"a": "cyst", "b": ""}])
