"""A batch whose queries are shared out: every process samples and learns from its own, and all see all the numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from umed.boxes import Box
from umed.chat import ImageView, Prompt
from umed.processes import ALONE, Processes
from umed.records import Record
from umed.rewards.total import Scored
from umed.rollout import Rollout, TrainingBatch, split_queries

Raw = Mapping[str, Tensor]  # each reward of each answer, (B,)

BEYOND = {"name_BN": -1, "region_BP": torch.nan}  # what stands behind an answer's own entries; 0 elsewhere
STAYS = "attention_BNP"  # with the process that has read it: it is large, and only rewards read it
PER_ANSWER = ("total_B", "raw", "summands", "maxima")  # of `Scored`
LEARNED = ("mask_BT", "ref_logp_BT", "reward_B", "maxima", "advantages_BT", "returns_BT")


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """Brings the answers of all processes together, so that credit, moments and means are of the whole batch.

    Every process computes them from the same numbers in the same order, as one process alone would. With one process
    everything is returned as it is.
    """

    processes: Processes = ALONE

    def places(self, queries: int) -> range:
        """The places in the batch of this process's queries."""
        rank, count = self.processes.rank, self.processes.count
        return range(rank, rank + queries * count, count)

    def gather(self, rollout: Rollout, raw: Raw, ref_logp_BT: Tensor) -> tuple[Rollout, Raw, Tensor]:
        """Rollout, rewards and reference of the whole batch; pictures and attention stay with their processes."""
        if self.processes.count == 1:
            return rollout, raw, ref_logp_BT
        named = {f.name: getattr(rollout, f.name) for f in fields(Rollout)}
        tensors = {n: v for n, v in named.items() if isinstance(v, Tensor) and n != STAYS}
        rewards = {f"reward {name}": value for name, value in raw.items()}
        whole = self._gather_rows({**tensors, **rewards, "reference": ref_logp_BT}, rollout.num_candidates)
        texts = self._gather_texts(rollout)
        gathered = rollout.updated(
            **{n: whole[n] for n in tensors}, **texts, attention_BNP=torch.zeros(len(whole["ids_BT"]), 0, 0)
        )
        return gathered, {name: whole[f"reward {name}"] for name in raw}, whole["reference"]

    def own(self, rollout: Rollout, whole: TrainingBatch) -> TrainingBatch:
        """This process's part of the training batch of which `rollout` is its part."""
        if self.processes.count == 1:
            return whole
        rows = self._own_rows(whole)
        part = {name: self._pick(getattr(whole, name), rows, rollout.ids_BT.shape[1]) for name in LEARNED}
        return TrainingBatch.of(rollout, **part)

    def own_scored(self, whole: Rollout, scored: Scored) -> Scored:
        """The rewards of this process's answers."""
        if self.processes.count == 1:
            return scored
        rows = self._own_rows(whole)
        named = {f.name: getattr(scored, f.name) for f in fields(Scored)}
        return Scored(**{n: self._pick(v, rows, 0) if n in PER_ANSWER else v for n, v in named.items()})

    def minibatches(
        self, own: TrainingBatch, whole: TrainingBatch, epochs: int, count: int, generator: torch.Generator
    ) -> Iterator[tuple[TrainingBatch, Tensor]]:
        """This process's part of each minibatch, which may be empty, and the valid tokens of all of it."""
        if self.processes.count == 1:
            yield from ((part, part.mask_BT) for part in whole.minibatches(epochs, count, generator))
            return
        for queries in split_queries(len(whole.prompts), epochs, count, generator):
            if queries is None:
                yield own, whole.mask_BT
                continue
            mine = [q // self.processes.count for q in queries if q % self.processes.count == self.processes.rank]
            rows = _rows(queries, whole.num_candidates)
            yield own.take(mine), whole.mask_BT[rows.to(whole.mask_BT.device)]

    def _own_rows(self, whole: Rollout) -> Tensor:
        return _rows(self.processes.share(range(len(whole.prompts))), whole.num_candidates)

    def _pick(self, value: Any, rows: Tensor, width: int) -> Any:
        if isinstance(value, Mapping):
            return {name: self._pick(each, rows, width) for name, each in value.items()}
        picked = value[rows.to(value.device)]
        return picked[:, :width] if picked.dim() > 1 else picked  # behind it no answer of its own has a token

    def _gather_rows(self, tensors: Mapping[str, Tensor], num_candidates: int) -> dict[str, Tensor]:
        """The rows of all processes, as wide as the widest: each fills in its own, and the sum is the whole."""
        own = len(next(iter(tensors.values()))) // num_candidates
        shapes = torch.zeros(self.processes.count, 1 + sum(t.dim() - 1 for t in tensors.values()), dtype=torch.long)
        shapes[self.processes.rank] = torch.tensor([own, *(size for t in tensors.values() for size in t.shape[1:])])
        shapes = self.processes.sum(shapes)
        queries, widths = int(shapes[:, 0].sum()), shapes[:, 1:].amax(0).tolist()
        rows = _rows(self.processes.share(range(queries)), num_candidates)
        whole = {}
        for name, t in tensors.items():
            size, widths = widths[: t.dim() - 1], widths[t.dim() - 1 :]
            kind = torch.uint8 if t.dtype == torch.bool else t.dtype
            wide = t.new_full((len(t), *size), BEYOND.get(name, 0), dtype=kind)
            wide[(slice(None), *(slice(n) for n in t.shape[1:]))] = t.to(kind)
            filled = torch.zeros(queries * num_candidates, *size, dtype=kind, device=t.device)
            filled[rows.to(t.device)] = wide
            whole[name] = self.processes.sum(filled).to(t.dtype)
        return whole

    def _gather_texts(self, rollout: Rollout) -> dict[str, Any]:
        """The fields of a rollout that are no tensors; a prompt of another process has no picture."""
        g = rollout.num_candidates
        boxes = [None if of is None else [asdict(box) for box in of] for of in rollout.boxes]
        mine = []
        for q, prompt in enumerate(rollout.prompts):
            rows = slice(q * g, (q + 1) * g)
            answers = rollout.raw[rows], rollout.texts[rows], boxes[rows]
            mine.append([asdict(prompt.record), prompt.gold, prompt.others, *answers])
        queries = self.processes.gather(mine)
        prompts = [_without_picture(*q[:3]) for q in queries]
        for place, prompt in zip(self.processes.share(range(len(prompts))), rollout.prompts, strict=True):
            prompts[place] = prompt
        raw, texts, found = ([x for q in queries for x in q[k]] for k in (3, 4, 5))
        return {
            "prompts": prompts,
            "raw": raw,
            "texts": texts,
            "boxes": [None if of is None else [Box(**box) for box in of] for of in found],
        }


def _rows(queries: Sequence[int], num_candidates: int) -> Tensor:
    """The rows of the answers to these queries."""
    return torch.tensor([q * num_candidates + g for q in queries for g in range(num_candidates)], dtype=torch.long)


def _without_picture(record: Mapping[str, Any], gold: str, others: Sequence[str]) -> Prompt:
    boxes = tuple(Box(**box) for box in record["boxes"])
    known = Record(**{**record, "boxes": boxes})
    view = ImageView(known.width, known.height, known.width, known.height, ())
    return Prompt(known, view, {}, gold=gold, others=tuple(others))
