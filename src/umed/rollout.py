"""`Rollout`: everything known about the sampled answers of one iteration.

Shape suffixes: Q queries, G answers a query, B = Q * G answers (answers to one query stand together), T answer tokens
(right-padded), N tokens of the abnormality's name in an answer (right-padded), P image tokens (right-padded).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from umed.boxes import Box
from umed.chat import Prompt
from umed.records import Record


@dataclass(slots=True)
class Answers:
    """What a policy said: token ids, which of them count, and whether the end was reached."""

    ids_BT: Tensor
    mask_BT: Tensor  # True up to and including the first end-of-answer token
    truncated_B: Tensor
    logp_BT: Tensor  # of the distribution sampled from


@dataclass(slots=True)
class Rollout:
    """Queries, sampled answers, what pi_old and V think of them, and the evidence that rewards ask for."""

    prompts: list[Prompt]
    ids_BT: Tensor
    mask_BT: Tensor
    truncated_B: Tensor
    raw: list[str]
    texts: list[str]
    boxes: list[list[Box] | None]
    logp_BT: Tensor
    values_BT: Tensor
    name_BN: Tensor  # answer positions of the name's tokens, -1 where there is none
    attention_BNP: Tensor  # attention of those tokens on the image tokens
    region_BP: Tensor  # w_j of the gold boxes, NaN beyond the image's own tokens
    box_span_BT: Tensor  # True on the tokens that write the boxes
    name_span_BT: Tensor  # True on the tokens that name an abnormality
    ref_logp_BT: Tensor
    penalty_BT: Tensor  # taken off each token's reward
    reward_B: Tensor
    attention_max_B: Tensor
    advantages_BT: Tensor
    returns_BT: Tensor

    @property
    def num_candidates(self) -> int:
        """G."""
        return len(self.ids_BT) // len(self.prompts)

    @property
    def group_B(self) -> Tensor:
        """Index of the query of each answer."""
        return torch.arange(len(self.prompts)).repeat_interleave(self.num_candidates)

    @property
    def records(self) -> list[Record]:
        return [p.record for p in self.prompts]

    @property
    def golds(self) -> list[str]:
        return [p.gold for p in self.prompts]

    @property
    def others(self) -> list[tuple[str, ...]]:
        return [p.others for p in self.prompts]

    def take(self, queries: Tensor) -> Self:
        """The part that belongs to these queries; the answers to one query stay together."""
        g = self.num_candidates
        rows = (queries[:, None] * g + torch.arange(g)).flatten()
        picked: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "prompts":
                picked[f.name] = [value[q] for q in queries.tolist()]
            elif isinstance(value, list):
                picked[f.name] = [value[b] for b in rows.tolist()]
            else:
                picked[f.name] = value[rows.to(value.device)]
        return type(self)(**picked)

    def minibatches(self, epochs: int, count: int, generator: torch.Generator) -> Iterator[Self]:
        """`count` parts of the queries in each of `epochs` passes, reshuffled by `generator`."""
        for _ in range(epochs):
            order = torch.randperm(len(self.prompts), generator=generator)
            for part in order.chunk(count):
                yield self.take(part)

    def updated(self, **values: Any) -> Self:
        return replace(self, **values)
