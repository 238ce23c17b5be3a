"""MAU batches: the same records serve instruction tuning and as queries for rewarding."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from umed.chat import Processor, Prompt
from umed.errors import InputError
from umed.pictures import open_picture
from umed.records import Record


class Prompts(Dataset[Prompt]):
    """Records as encoded prompts; a picture is opened when its record is asked for."""

    def __init__(
        self, records: Sequence[Record], roots: Mapping[str, Path], processor: Processor, all_records: Sequence[Record]
    ) -> None:
        self.records, self.roots, self.processor = list(records), dict(roots), processor
        self.others = other_categories(all_records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Prompt:
        record = self.records[index]
        others = tuple(c for c in self.others[record.source] if c != record.category)
        return self.processor.prompt(open_picture(self.roots[record.source] / record.image), record, others)


@lru_cache(maxsize=1)
def _categories(pairs: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = defaultdict(set)
    for source, category in pairs:
        found[source].add(category)
    return {source: tuple(sorted(names)) for source, names in found.items()}


def other_categories(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    """The categories of each source, sorted."""
    return _categories(tuple((r.source, r.category) for r in records))


class BatchPlan(Sampler[list[int]]):
    """Which records each batch holds: a pure function of (seed, batch number), so a resumed run sees the same batches.

    The records are reshuffled for every pass; passes follow each other without a gap. One Lightning epoch is `every`
    batches, the interval between two checkpoints.
    """

    def __init__(self, size: int, batch_size: int, seed: int, every: int) -> None:
        self.size, self.batch_size, self.seed, self.every, self.epoch = size, batch_size, seed, every, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.every

    def batch(self, number: int) -> list[int]:
        places = range(number * self.batch_size, (number + 1) * self.batch_size)
        return [self._order(p // self.size)[p % self.size] for p in places]

    def _order(self, data_pass: int) -> list[int]:
        return _shuffled(self.size, (self.seed * 1_000_003 + data_pass) % 2**63)

    def __iter__(self) -> Iterator[list[int]]:
        for i in range(self.every):
            yield self.batch(self.epoch * self.every + i)


@lru_cache(maxsize=4)
def _shuffled(size: int, seed: int) -> list[int]:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed)).tolist()


class MauDataModule(L.LightningDataModule):
    """Training and validation batches of encoded prompts.

    Args:
        records: annotated records with their splits.
        roots: folder of the pictures of each source.
        processor: the model family's.
        batch_size, seed, every: see `BatchPlan`.
        val_samples: at most this many validation records, evenly spread.
        num_workers: of the data loaders.
    """

    def __init__(
        self,
        records: Sequence[Record],
        roots: Mapping[str, Path],
        processor: Processor,
        *,
        batch_size: int,
        seed: int,
        every: int,
        val_samples: int,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.records, self.roots, self.processor = list(records), roots, processor
        self.batch_size, self.seed, self.every = batch_size, seed, every
        self.val_samples, self.num_workers = val_samples, num_workers

    def split(self, name: str, at_most: int | None = None) -> Prompts:
        """The records of a split, or an evenly spread part of them.

        Raises:
            InputError: the split is empty.
        """
        chosen = [r for r in self.records if r.split == name]
        if not chosen:
            raise InputError(f"no record has split={name}: see records.jsonl and data.split.fractions")
        count = min(len(chosen), at_most or len(chosen))
        spread = [chosen[k * len(chosen) // count] for k in range(count)]
        return Prompts(spread, self.roots, self.processor, self.records)

    def train_dataloader(self) -> DataLoader:
        prompts = self.split("train")
        plan = BatchPlan(len(prompts), self.batch_size, self.seed, self.every)
        return DataLoader(
            prompts,
            batch_sampler=plan,
            collate_fn=list,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.split("val", self.val_samples))

    def loader(self, prompts: Prompts, batch_size: int = 64) -> DataLoader:
        """In order, for evaluation."""
        return DataLoader(prompts, batch_size, collate_fn=list, num_workers=self.num_workers)
