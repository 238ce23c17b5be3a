"""Batches against one question at a time: the same tokens, and a difference is noticed."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from answers import predict

from umed.chat import Prompt
from umed.engine.engine import Engine
from umed.evaluation.datamodule import EvaluationItem
from umed.evaluation.throughput import measure_throughput
from umed.models.policy import Policy


class Batches:
    """What `measure_throughput` asks of the data: a benchmark whose k-th question has the k-th prompt."""

    def __init__(self, prompts: list[Prompt], size: int) -> None:
        questions = [predict(k, "slake", "open", "", "").question for k in range(len(prompts))]
        self.dataset = [EvaluationItem(q, p, {}) for q, p in zip(questions, prompts, strict=True)]
        self.benchmarks, self.batch_size = {"mau": SimpleNamespace(questions=lambda: questions)}, size

    def loader(self, name: str, questions: list[Any]) -> Any:
        assert [q.id for q in questions] == [asked.question.id for asked in self.dataset]
        return self

    def __iter__(self) -> Iterator[list[EvaluationItem]]:
        return (self.dataset[k : k + self.batch_size] for k in range(0, len(self.dataset), self.batch_size))


def measure(policy: Policy, prompts: list[Prompt]) -> dict[str, float]:
    data: Any = Batches(prompts, 4)
    return measure_throughput(Engine(policy), data, "mau", questions=len(prompts), max_new_tokens=6)


def test_both_say_the_same(policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]) -> None:
    found = measure(policy(), make_prompts(6))
    assert found["speed/same"] == 1
    assert found["speed/ratio"] == pytest.approx(found["speed/batched"] / found["speed/alone"])


def test_other_tokens_are_counted(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, calls = policy(), 0
    generate = own.core.generate

    def wrong_once(*args: object, **kwargs: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        said = generate(*args, **kwargs)
        return said.clone().index_fill(1, torch.tensor([said.shape[1] - 1]), 0) if calls == 2 else said

    monkeypatch.setattr(own.core, "generate", wrong_once)
    assert measure(own, make_prompts(4))["speed/same"] == 0.75
