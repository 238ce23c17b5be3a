"""Where a model looks while it names an abnormality."""

import numpy as np
import torch

from umed.engine.engine import Engine
from umed.evaluation.attention import answer_with_attention
from umed.methods.sampler import Sampler
from umed.models.noise import Noise
from umed.rollout import Answers


def saying(model, text):
    """What a model samples that says this text."""
    ids = torch.tensor([model.processor.tokenizer(text, add_special_tokens=False)["input_ids"]])
    is_said = torch.ones_like(ids, dtype=torch.bool)
    return lambda *_, **__: Answers(ids, is_said, torch.zeros(1, dtype=torch.bool), torch.zeros(ids.shape))


def test_attention_is_what_the_reward_sees(policy, make_prompts, monkeypatch):
    """The heat of the name's tokens equals the rollout's, for an answer that names the abnormality."""
    model, (prompt,) = policy(), make_prompts(1, (140, 112))
    monkeypatch.setattr(type(model), "sample", saying(model, "A stone is"))
    prediction, heat = answer_with_attention(model, prompt, 4)
    rollout = Sampler(1, 4)(Engine(model), [prompt], frozenset({"attention"}), Noise(0))
    assert prediction.output == "A stone is" and rollout.name_BN.tolist() == [[2]]
    assert heat is not None and heat.shape == (prompt.view.grids[0].rows, prompt.view.grids[0].columns)
    np.testing.assert_allclose(heat.flatten(), rollout.attention_BNP[0, 0].numpy(), rtol=1e-5)
    monkeypatch.setattr(type(model), "sample", saying(model, "<think>A cyst?</think>A stone is"))
    [stone] = [t for t, i in enumerate(model.sample().ids_BT[0].tolist()) if model.processor.decode([i]) == " stone"]
    rows = []
    score = model.score
    monkeypatch.setattr(model, "score", lambda *given: rows.extend(given[3].tolist()) or score(*given))
    answer_with_attention(model, prompt, 4)
    assert rows == [[stone + 1]]  # nothing of the thought
    monkeypatch.setattr(type(model), "sample", saying(model, "No stone ."))
    prediction, heat = answer_with_attention(model, prompt, 4)
    assert "stone" in prediction.output and heat is None  # negated: nothing is named
