"""Batches against one query at a time: the same tokens, and a difference is noticed."""

from collections.abc import Callable, Iterator

import pytest
import torch

from umed.chat import Prompt
from umed.evaluation.throughput import batches_against_alone
from umed.models.policy import Policy


class Queries:
    """What `batches_against_alone` asks of the data."""

    def __init__(self, prompts: list[Prompt]) -> None:
        self.prompts = prompts

    def split(self, split: str, at_most: int) -> list[Prompt]:
        return self.prompts[:at_most]

    def loader(self, prompts: list[Prompt], size: int) -> Iterator[list[Prompt]]:
        return (prompts[k : k + size] for k in range(0, len(prompts), size))


def test_both_say_the_same(policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]) -> None:
    own, data = policy(), Queries(make_prompts(7))
    found = batches_against_alone(own, data, "test", queries=6, max_new_tokens=8, batch_size=4)
    assert found["speed/same"] == 1
    assert found["speed/ratio"] == pytest.approx(found["speed/batched"] / found["speed/alone"])


def test_other_tokens_are_counted(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, data = policy(), Queries(make_prompts(4))
    generate = own.core.generate

    def wrong_once(*args: object, **kwargs: object) -> torch.Tensor:
        said = generate(*args, **kwargs)
        wrong_once.calls += 1
        return said.clone().index_fill(1, torch.tensor([said.shape[1] - 1]), 0) if wrong_once.calls == 2 else said

    wrong_once.calls = 0
    monkeypatch.setattr(own.core, "generate", wrong_once)
    found = batches_against_alone(own, data, "test", queries=4, max_new_tokens=5, batch_size=4)
    assert found["speed/same"] == 0.75
