"""Class probabilities against a plain full forward pass, label by label."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from umed.chat import Prompt
from umed.engine.engine import Engine
from umed.engine.likelihood import class_probabilities
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.policy import Policy
from umed.synthetic.parity.tiny_model import plain_inputs

LABELS = {"s": "A stone", "c": "cyst", "n": "No lung nodule is seen in this picture", "l": "A"}


def alone(policy: Policy, prompt: Prompt, text: str) -> float:
    """Mean log-probability of a text's tokens, its prompt and itself in one row, nothing shared and nothing padded."""
    ids = policy.processor.encode(text)
    logits = policy.model(**plain_inputs(policy.backbone, prompt, ids)).logits[0, -len(ids) - 1 : -1]
    return float(logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None]).mean())


def test_probabilities_are_those_of_each_label_read_alone(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: FamilyProcessor
) -> None:
    made = policy().eval()
    made.temperature = 0.5  # of sampling alone
    prompts = make_prompts(3)
    orders = [dict(list(LABELS.items())[k:] + list(LABELS.items())[:k]) for k in range(3)]
    found = class_probabilities(Engine(made), prompts, orders)
    for prompt, order, said in zip(prompts, orders, found, strict=True):
        with torch.no_grad():
            logs = np.array([alone(made, prompt, text) for text in order.values()])
        assert list(said) == list(order)
        expected = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
        np.testing.assert_allclose(list(said.values()), expected, rtol=2e-5)
    assert len({round(v, 6) for said in found for v in said.values()}) > 8  # every picture and label differs


def test_a_picture_is_encoded_once_for_all_labels(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    made, prompts, passes = policy(), make_prompts(2), []
    getattr(made.core.model, made.backbone.tower[0]).register_forward_hook(lambda *_: passes.append(1))
    class_probabilities(Engine(made), prompts, [LABELS] * 2)
    assert 0 < len(passes) <= len(prompts)  # whatever the number of labels
    assert made.training  # as it was


def test_an_empty_label_is_refused(policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]) -> None:
    with pytest.raises(InputError, match="answer text is empty"):
        class_probabilities(Engine(policy()), make_prompts(1), [{"a": "cyst", "b": ""}])
