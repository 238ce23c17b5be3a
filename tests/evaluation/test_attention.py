"""Where a model looks while it names an abnormality."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from umed.engine.engine import Engine
from umed.evaluation.attention import answer_with_attention
from umed.evaluation.benchmarks.mau import question_of
from umed.evaluation.named_tokens import measure_attention
from umed.methods.sampler import Sampler
from umed.models.noise import Noise
from umed.rewards.vision_relevance import VisionRelevanceReward
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
    monkeypatch.setattr(
        model, "score", lambda *given, **options: rows.extend(given[3].tolist()) or score(*given, **options)
    )
    answer_with_attention(model, prompt, 4)
    assert rows == [[stone + 1]]  # nothing of the thought
    monkeypatch.setattr(type(model), "sample", saying(model, "No stone ."))
    prediction, heat = answer_with_attention(model, prompt, 4)
    assert "stone" in prediction.output and heat is None  # negated: nothing is named


def test_the_share_is_that_of_the_reward(policy, make_prompts, monkeypatch):
    """Of a benchmark's questions, whose prompts know no boxes; None where the abnormality is not named."""
    model, prompts = policy(), make_prompts(2, (140, 112))
    record = replace(prompts[0].record, category="stone")
    prompts[0] = replace(prompts[0], record=record)
    engine, questions = Engine(model), [question_of(p.record, ()) for p in prompts]
    without = [replace(p, record=replace(p.record, boxes=(), category="")) for p in prompts]
    monkeypatch.setattr(type(model), "sample", saying(model, "A stone is"))
    rollout = Sampler(1, 4)(engine, prompts[:1], frozenset({"attention"}), Noise(0))
    expected = VisionRelevanceReward()(rollout).tolist()
    found = measure_attention(engine, without[:1], questions[:1], model.sample())
    assert found == pytest.approx(expected, rel=1e-5) and 0 < found[0] < 1
    monkeypatch.setattr(type(model), "sample", saying(model, "No stone ."))
    assert measure_attention(engine, without[:1], questions[:1], model.sample()) == [None]
    normal = questions[0].model_copy(update={"gold_boxes": ()})
    monkeypatch.setattr(type(model), "sample", saying(model, "A stone is"))
    assert measure_attention(engine, without[:1], [normal], model.sample()) == [None]
