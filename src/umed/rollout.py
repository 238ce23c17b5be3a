"""`Rollout`: everything known about the sampled answers of one iteration.

Shape suffixes: Q queries, G answers a query, B = Q * G answers (answers to one query stand together), T answer tokens
(right-padded), N tokens of the abnormality's name in an answer (right-padded), P image tokens (right-padded).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from umed.boxes import Box
from umed.chat import Prompt
from umed.records import Record
from umed.thoughts import find_thoughts


@dataclass(slots=True)
class Answers:
    """Sampled answers of a policy."""

    ids_BT: Tensor
    mask_BT: Tensor  # True up to and including the first end-of-answer token
    truncated_B: Tensor  # the end was not reached
    logp_BT: Tensor  # of the distribution sampled from

    def token_ids(self) -> list[list[int]]:
        """The valid tokens of each answer; the host waits for the device once."""
        ids_BT, mask_BT = torch.stack([self.ids_BT, self.mask_BT.long()]).cpu()
        return [ids[mask].tolist() for ids, mask in zip(ids_BT, mask_BT.bool(), strict=True)]


@dataclass(slots=True)
class Rollout:
    """Queries, sampled answers, their scores under pi_old and V, and the evidence that rewards ask for."""

    prompts: list[Prompt]
    ids_BT: Tensor
    mask_BT: Tensor
    truncated_B: Tensor
    raw: list[str]  # replies as they were written, thoughts included
    texts: list[str]  # answers as plain language
    boxes: list[list[Box] | None]  # None = no box could be read; [] = none is written, of a normal picture
    logp_BT: Tensor
    sampled_logp_BT: Tensor  # as the sampler computed them: another rounding, or another program
    values_BT: Tensor
    name_BN: Tensor  # answer positions of the name's tokens, -1 = none
    attention_BNP: Tensor  # attention of those tokens on the image tokens; (B, 0, 0) if no reward needs it
    region_BP: Tensor  # w_j of the gold boxes, NaN beyond the image's own tokens
    box_span_BT: Tensor  # True on the tokens that write the boxes
    name_span_BT: Tensor  # True on the tokens that name an abnormality

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

    def means(self) -> dict[str, float]:
        """`rollout/*`: shares of answers without a readable box, with a thought, truncated; mean length in tokens.

        `logp_gap` is the mean of |sampled - scored| log-probabilities over valid tokens, `logp_gap_max` the largest.
        """
        gap = (self.sampled_logp_BT - self.logp_BT).abs() * self.mask_BT
        computed = {
            "rollout/logp_gap": gap.sum() / self.mask_BT.sum(),
            "rollout/logp_gap_max": gap.max(),
            "rollout/length": self.mask_BT.sum(1).float().mean(),
            "rollout/truncated": self.truncated_B.float().mean(),
        }
        return {
            **to_floats(computed),
            "rollout/unparsed": sum(b is None for b in self.boxes) / len(self.boxes),
            "rollout/thought_removed": sum(bool(find_thoughts(text)) for text in self.raw) / len(self.raw),
        }

    def take(self, queries: Sequence[int], candidates: range | None = None, width: int | None = None) -> Self:
        """The part that belongs to these queries; the answers to one query stand together.

        Args:
            candidates: those of each query, None = all.
            width: of what has an entry a token, None = as it is; wider than all valid tokens of the part.
        """
        g = self.num_candidates
        rows = torch.tensor([q * g + c for q in queries for c in candidates or range(g)], dtype=torch.long)
        there = rows.to(self.ids_BT.device, non_blocking=True)
        picked = {f.name: _rows(getattr(self, f.name), rows, there) for f in fields(self) if f.name != "prompts"}
        if width is not None:  # rows of answers that have left the mask may lie behind it
            picked["name_BN"] = picked["name_BN"].where(picked["name_BN"] <= width, -1)
        trimmed = {name: value[:, :width] if name.endswith("_BT") else value for name, value in picked.items()}
        return type(self)(prompts=[self.prompts[q] for q in queries], **trimmed)

    def updated(self, **values: Any) -> Self:
        """A copy with other values in these fields."""
        return replace(self, **values)


@dataclass(slots=True)
class TrainingBatch(Rollout):
    """A rollout with all that the objective reads: reference, rewards, advantages and returns."""

    ref_logp_BT: Tensor  # of the reference policy; those of pi_old where no KL penalty asks for a reference
    reward_B: Tensor  # R_g, 0 where nothing could be scored
    maxima: Mapping[str, Tensor]  # of each reward over the answers to one query, (B,)
    advantages_BT: Tensor
    returns_BT: Tensor

    @classmethod
    def of(cls, rollout: Rollout, **added: Any) -> Self:
        """The rollout's fields, with those of `added` in place of or beside them."""
        return cls(**{**{f.name: getattr(rollout, f.name) for f in fields(Rollout)}, **added})

    def minibatches(self, epochs: int, count: int, generator: torch.Generator) -> Iterator[Self]:
        """`count` parts of the queries in each of `epochs` passes, see `split_queries`."""
        for queries in split_queries(len(self.prompts), epochs, count, generator):
            yield self if queries is None else self.take(queries)


def split_queries(size: int, epochs: int, count: int, generator: torch.Generator) -> Iterator[list[int] | None]:
    """`count` parts of `size` queries, of nearly equal size, in each of `epochs` passes, reshuffled by `generator`.

    Sizes differ by one at most; of fewer queries than `count`, each is a part. A single part is None: all, as they
    stand.
    """
    if epochs == count == 1:
        yield None
        return
    for _ in range(epochs):
        order = torch.randperm(size, generator=generator)
        for part in order.tensor_split(min(count, size)):
            yield part.tolist()


def _rows(value: Any, rows: Tensor, there: Tensor) -> Any:
    """These rows of a list or tensor, or of each in a mapping; `there` are the same numbers on the device."""
    if isinstance(value, Mapping):
        return {name: _rows(each, rows, there) for name, each in value.items()}
    if isinstance(value, list):
        return [value[b] for b in rows.tolist()]
    return value[there if value.device == there.device else rows]


def to_floats(computed: Mapping[str, Tensor]) -> dict[str, float]:
    """Single numbers, read from the device at once: the host waits for it one time."""
    device = next((value.device for value in computed.values() if value.device.type != "cpu"), torch.device("cpu"))
    numbers = torch.stack([value.detach().to(device, torch.float32, non_blocking=True) for value in computed.values()])
    return dict(zip(computed, numbers.tolist(), strict=True))
