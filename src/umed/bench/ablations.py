"""Our ideas, each of which can be taken back for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from umed.engine.engine import Engine
from umed.models import reader
from umed.models.policy import Scores
from umed.models.reader import Reader


@contextmanager
def encode_again() -> Iterator[None]:
    """Features of a frozen tower are not kept: every pass encodes its pictures."""
    with patch.object(reader, "is_frozen", lambda *args: False):
        yield


@contextmanager
def read_again() -> Iterator[None]:
    """The prefill of sampling serves no other pass."""
    with patch.object(Engine, "read_prompts", lambda *args, **kwargs: None):
        yield


@contextmanager
def whole_rows() -> Iterator[None]:
    """Prompt and answer in one row wherever answers are scored, as many times as there are answers."""
    init = Reader.__init__

    def without_sharing(self: Reader, core: Any, processor: Any, backbone: Any, *args: Any, **kwargs: Any) -> None:
        init(self, core, processor, replace(backbone, shares_prefix=False), *args, **kwargs)

    with patch.object(Reader, "__init__", without_sharing), read_again():
        yield


@contextmanager
def score_again() -> Iterator[None]:
    """The scores under the policy that sampled are computed without their graph, and once more for the update."""
    score = Engine.score

    def without_graph(self: Engine, *args: Any, keep: bool = False, **kwargs: Any) -> Scores:
        return score(self, *args, **kwargs)

    with patch.object(Engine, "score", without_graph):
        yield


@contextmanager
def all_positions() -> Iterator[None]:
    """The language-model head on prompt positions too, with their log-probabilities and gradients, on `whole_rows`."""
    forward = Reader._read_in_full

    def with_prompts(self: Reader, *args: Any, **kwargs: Any) -> Tensor:
        seen: list[Tensor] = []
        handle = self.core.model.register_forward_hook(lambda module, inputs, out: seen.append(out.last_hidden_state))
        try:
            states = forward(self, *args, **kwargs)
        finally:
            handle.remove()
        logits = self.core.lm_head(seen[-1][:, : -states.shape[1]]).float()
        # nothing needs these numbers, and a factor of zero spares none of their cost, backward neither
        return states + 0.0 * torch.log_softmax(logits, -1)[..., 0].mean()

    with whole_rows(), patch.object(Reader, "_read_in_full", with_prompts):
        yield
