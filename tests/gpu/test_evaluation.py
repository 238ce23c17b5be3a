"""Answers and class probabilities of a benchmark's questions, beside those of the CPU."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from answers import ROOT
from hydra.utils import instantiate
from omegaconf import OmegaConf

from umed.engine.engine import Engine
from umed.evaluation.ask import ask_questions
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.evaluation.prediction import Prediction
from umed.models.policy import Policy
from umed.synthetic.benchmarks import PhantomBenchmarks


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_questions(device: torch.device, policy: Callable[..., Policy], tmp_path: Path, dtype: str) -> None:
    protocol = instantiate(OmegaConf.load(ROOT / "conf/data/protocol/ours.yaml"))
    drawn = PhantomBenchmarks(str(tmp_path / "all"), num_items=2)

    def ask(where: str, dtype: str) -> tuple[list[Prediction], list[Prediction]]:
        pi = policy(device=where, dtype=dtype).eval()
        data = BenchmarkDataModule({"phantom": drawn}, pi.processor, protocol, at_most=2)
        return ask_questions(Engine(pi), data, "phantom", "test", max_new_tokens=4, samples=2)

    (greedy, sampled), (expected, _) = ask(str(device), dtype), ask("cpu", "float32")
    assert len(sampled) == 2 * len(greedy) and all(isinstance(p.output, str) for p in sampled)
    for one, other in zip(greedy, expected, strict=True):
        assert one.question == other.question
        if other.scores:
            assert one.scores == pytest.approx(other.scores, abs=1e-3 if dtype == "float32" else 0.05)
    if dtype == "float32":  # a near tie may fall the other way
        assert sum(a.output == b.output for a, b in zip(greedy, expected, strict=True)) >= 0.8 * len(greedy)
