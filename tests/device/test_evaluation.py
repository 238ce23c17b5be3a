"""What is asked of a trained model on an accelerator: evaluation, predictions and figures answer as on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from answers import ROOT
from hydra.utils import instantiate
from omegaconf import OmegaConf
from on_device import same_on
from PIL import Image

from umed.chat import Prompt
from umed.engine.budget import Budget
from umed.engine.engine import Engine
from umed.evaluation.ask import ask_questions
from umed.evaluation.attention import answer_with_attention
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.evaluation.throughput import measure_throughput
from umed.models.policy import Policy
from umed.synthetic.benchmarks import PhantomBenchmarks
from umed.tasks.predict import answer_query

Make, Prompts = Callable[..., Policy], Callable[..., list[Prompt]]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> PhantomBenchmarks:
    return PhantomBenchmarks(str(tmp_path_factory.mktemp("phantom") / "all"), num_items=1)


@pytest.mark.parametrize(
    ("tokens", "samples"),
    [(None, 0), pytest.param(None, 2, marks=pytest.mark.slow), pytest.param(20, 2, marks=pytest.mark.slow)],
)
def test_questions(
    tokens: int | None, samples: int, pretend: torch.device, policy: Make, questions: PhantomBenchmarks
) -> None:
    """Greedy answers and class probabilities of every stand-in, and sampled answers."""
    protocol = instantiate(OmegaConf.load(ROOT / "conf/data/protocol/ours.yaml"))

    def run(device: torch.device) -> Any:
        pi = policy(device=str(device))
        data = BenchmarkDataModule({"phantom": questions}, pi.processor, protocol, at_most=1)
        engine, options = Engine(pi, Budget(tokens)), {"max_new_tokens": 4, "samples": samples}
        return [
            ask_questions(engine, data, "phantom", "test", shown=shown, **options)
            for shown in ("own", "black")[: 1 + samples]
        ]

    for answers, expected in zip(*same_on(pretend, run), strict=True):
        for found, others in zip(answers, expected, strict=True):
            assert len(found) == len(others)
            for one, other in zip(found, others, strict=True):
                assert one.model_copy(update={"scores": None}) == other.model_copy(update={"scores": None})
                assert (one.scores or {}) == pytest.approx(other.scores or {}, abs=1e-6)
        assert any(p.scores for p in answers[0]) and bool(answers[1]) == bool(samples)


def test_a_picture_and_its_attention(pretend: torch.device, policy: Make, make_prompts: Prompts) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8))

    def run(device: torch.device) -> Any:
        pi = policy(device=str(device)).eval()
        bias = torch.zeros(pi.core.lm_head.out_features, device=device)
        bias[pi.processor.encode(" stone")[:1]] = 50.0  # it names an abnormality, so that there is attention to show
        pi.core.lm_head.register_forward_hook(lambda module, inputs, out: out + bias)
        told = answer_query(pi, picture, Path("a.png"), "What is wrong ?", 4)
        return told, [answer_with_attention(pi, prompt, 3) for prompt in make_prompts(1)]

    (told, answers), (expected, others) = same_on(pretend, run)
    assert told == expected
    [(one, heat)], [(other, expected_heat)] = answers, others
    assert one == other and "stone" in one.output
    np.testing.assert_allclose(heat, expected_heat, atol=1e-6)
    assert heat.max() > 0


@pytest.mark.slow
def test_throughput(pretend: torch.device, policy: Make, questions: PhantomBenchmarks) -> None:
    """`generate` of transformers, one question at a time, says the same there."""
    pi = policy(device=str(pretend)).eval()
    protocol = instantiate(OmegaConf.load(ROOT / "conf/data/protocol/ours.yaml"))
    data = BenchmarkDataModule({"phantom": questions}, pi.processor, protocol)
    assert measure_throughput(Engine(pi), data, "phantom", questions=2, max_new_tokens=4)["speed/same"] == 1
