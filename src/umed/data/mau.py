"""MAU batches: the same records serve instruction tuning and as queries for rewarding."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning as L
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from umed.chat import Processor, Prompt
from umed.data.augment import Flips
from umed.data.looks import exchanged, seen_as
from umed.data.sampler import BatchPlan, PlacedBatches, classes_of
from umed.errors import InputError, check_positive
from umed.pictures import picture_of
from umed.records import Record

NO_FLIPS = {"horizontal_flip": 0.0, "vertical_flip": 0.0}


class Prompts(Dataset[Prompt]):
    """Records as encoded prompts; a picture is opened when its record is asked for."""

    def __init__(
        self,
        records: Sequence[Record],
        roots: Mapping[str, Path],
        processor: Processor,
        all_records: Sequence[Record],
        look: str = "own",
    ) -> None:
        self.records, self.roots, self.processor, self.look = list(records), dict(roots), processor, look
        self.others = other_categories(all_records)
        shown = exchanged([r.source for r in records], [r.image for r in records]) if look == "shuffled" else None
        self.shown = shown or range(len(self.records))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Prompt:
        picture = picture_of(self.records[self.shown[index]], self.roots)
        return self.prompt(seen_as(picture, self.look), self.records[index])

    def prompt(self, picture: Image.Image, record: Record) -> Prompt:
        others = tuple(c for c in self.others[record.source] if c != record.category)
        return self.processor.prompt(picture, record, others)


class FlippedPrompts(Dataset[Prompt]):
    """The same prompts by (position, place in the batch plan), flipped as the place decides."""

    def __init__(self, prompts: Prompts, flips: Flips) -> None:
        self.prompts, self.flips = prompts, flips

    def __len__(self) -> int:
        return len(self.prompts)

    def __getitem__(self, key: tuple[int, int]) -> Prompt:
        index, place = key
        record = self.prompts.records[index]
        return self.prompts.prompt(*self.flips(picture_of(record, self.prompts.roots), record, place))


@lru_cache(maxsize=1)
def _categories(pairs: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = defaultdict(set)
    for source, category in pairs:
        found[source].add(category)
    return {source: tuple(sorted(names)) for source, names in found.items()}


def other_categories(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    """The categories of each source, sorted."""
    return _categories(tuple((r.source, r.category) for r in records))


class MauDataModule(L.LightningDataModule):
    """Training and validation batches of encoded prompts.

    Args:
        records: annotated records with their splits.
        roots: folder of the pictures of each source.
        processor: the model family's.
        batch_size, seed, every: see `BatchPlan`.
        val_samples: at most this many validation records, evenly spread.
        sampler: `natural`, or the sources or categories take turns: `by_source`, `by_category`.
        augment: probabilities `horizontal_flip` and `vertical_flip`, of training records only.
        num_workers: of the data loaders.
        prefetch: batches that each worker has ready.

    Raises:
        InputError: an option that cannot be.
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
        sampler: str = "natural",
        augment: Mapping[str, float] = NO_FLIPS,
        num_workers: int = 0,
        prefetch: int = 2,
    ) -> None:
        super().__init__()
        if num_workers < 0:
            raise InputError(f"data.num_workers={num_workers}: 0 or more is expected")
        check_positive("data.prefetch", prefetch)
        classes_of((), sampler)  # a name that is not known is told before training
        self.records, self.roots, self.processor = list(records), roots, processor
        self.batch_size, self.seed, self.every = batch_size, seed, every
        self.val_samples, self.sampler, self.flips = val_samples, sampler, Flips.of(augment, seed)
        self.workers: dict[str, Any] = {"num_workers": num_workers}
        if num_workers:
            self.workers["prefetch_factor"] = prefetch

    def split(self, name: str, at_most: int | None = None, look: str = "own") -> Prompts:
        """The records of a split, or an evenly spread part of them.

        Args:
            look: what a model is shown, see `looks.LOOKS`.

        Raises:
            InputError: the split is empty.
        """
        chosen = [r for r in self.records if r.split == name]
        if not chosen:
            raise InputError(f"no record has split={name}: see records.jsonl and data.split.fractions")
        count = min(len(chosen), at_most or len(chosen))
        spread = [chosen[k * len(chosen) // count] for k in range(count)]
        return Prompts(spread, self.roots, self.processor, self.records, look)

    def train_dataloader(self) -> DataLoader:
        prompts = self.split("train")
        classes = classes_of(prompts.records, self.sampler)
        plan = BatchPlan(len(prompts), self.batch_size, self.seed, self.every, classes)
        persistent = self.workers["num_workers"] > 0
        keyed: dict[str, Any] = {"dataset": prompts, "batch_sampler": plan}
        if self.flips:
            keyed = {"dataset": FlippedPrompts(prompts, self.flips), "batch_sampler": PlacedBatches(plan)}
        return DataLoader(**keyed, collate_fn=list, persistent_workers=persistent, **self.workers)

    def val_dataloader(self) -> DataLoader:
        return self.loader(self.split("val", self.val_samples))

    def loader(self, prompts: Prompts, batch_size: int = 64) -> DataLoader:
        """In order, for evaluation."""
        return DataLoader(prompts, batch_size, collate_fn=list, **self.workers)
