"""Batches of MAU records, for instruction tuning and as queries for rewarding."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from umed.chat import Processor, Prompt
from umed.data.augment import Flips
from umed.data.controls import name_source
from umed.data.loading import check_workers, choose_workers, make_loader
from umed.data.sampler import BatchPlan, PlacedBatches, group_positions
from umed.errors import InputError, check_positive
from umed.pictures import picture_of
from umed.processes import ALONE, Processes
from umed.records import Record

NO_FLIPS = {"horizontal_flip": 0.0, "vertical_flip": 0.0}


class Prompts(Dataset[Prompt]):
    """Records as encoded prompts; a picture is opened when its record is asked for."""

    def __init__(
        self, records: Sequence[Record], roots: Mapping[str, Path], processor: Processor, all_records: Sequence[Record]
    ) -> None:
        self.records, self.roots, self.processor = list(records), dict(roots), processor
        self.others = list_categories(all_records)
        self.shown: dict[tuple[str, str], set[str]] = defaultdict(set)  # picture -> all that is abnormal on it
        for r in all_records:
            self.shown[r.source, r.image].add(r.category)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Prompt:
        record = self.records[index]
        return self.prompt(picture_of(record, self.roots), record)

    def prompt(self, picture: Image.Image, record: Record) -> Prompt:
        of_source = self.others[name_source(record, self.others)]
        shown = {record.category, *self.shown.get((record.source, record.image), ())}
        others = tuple(c for c in of_source if c not in shown)
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
def _collect_categories(pairs: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    categories: dict[str, set[str]] = defaultdict(set)
    for source, category in pairs:
        categories[source].add(category)
    return {source: tuple(sorted(names)) for source, names in categories.items()}


def list_categories(records: Sequence[Record]) -> dict[str, tuple[str, ...]]:
    """The categories of each source, sorted; to be normal is none."""
    return _collect_categories(tuple((r.source, r.category) for r in records if r.boxes))


class MauDataModule(L.LightningDataModule):
    """Training and validation batches of encoded prompts. Raises InputError: an invalid option.

    Args:
        records: annotated records with their splits.
        batch_size, seed, every: see `BatchPlan`.
        val_samples: at most this many validation records, evenly spread, and as large a part of the controls.
        sampler: `natural`, or the sources or categories take turns: `by_source`, `by_category`.
        augment: probabilities `horizontal_flip` and `vertical_flip`, of training records only.
        num_workers: of the loaders, None = see `choose_workers`; prefetch: batches that each has ready.
        processes: that share each batch, and the validation records.
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
        num_workers: int | None = 0,
        prefetch: int = 2,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__()
        check_workers(num_workers)
        check_positive("data.prefetch", prefetch)
        group_positions((), sampler)  # an unknown name is refused before training
        self.records, self.roots, self.processor = list(records), roots, processor
        self.batch_size, self.seed, self.every, self.processes = batch_size, seed, every, processes
        self.val_samples, self.sampler, self.flips = val_samples, sampler, Flips.from_config(augment, seed)
        if num_workers is None:
            num_workers = choose_workers(int(median(r.width * r.height for r in self.records))) if records else 0
        self.val_processes = ALONE  # that share the validation records
        self.workers: dict[str, int] = {"num_workers": num_workers}
        if num_workers:
            self.workers["prefetch_factor"] = prefetch

    def split(self, name: str, at_most: int | None = None) -> Prompts:
        """The records of a split, or an evenly spread part of them, and then as large a part of its controls.

        Raises InputError: the split has no record with boxes.
        """
        records = [r for r in self.records if r.split == name and r.boxes]
        controls = [r for r in self.records if r.split == name and not r.boxes]
        if not records:
            raise InputError(f"no record has split={name}: see records.jsonl and data.split.fractions")
        count = min(len(records), at_most or len(records))
        few = -(-len(controls) * count // len(records))
        spread = [*_spread(records, count), *_spread(controls, few)]
        return Prompts(spread, self.roots, self.processor, self.records)

    def train_dataloader(self) -> DataLoader:
        prompts = self.split("train")
        classes = group_positions(prompts.records, self.sampler)
        plan = BatchPlan(len(prompts), self.batch_size, self.seed, self.every, classes, self.processes)
        options: dict[str, Any] = {**self.workers, "persistent_workers": self.workers["num_workers"] > 0}
        if self.flips:
            return make_loader(FlippedPrompts(prompts, self.flips), batch_sampler=PlacedBatches(plan), **options)
        return make_loader(prompts, batch_sampler=plan, **options)

    def val_dataloader(self) -> DataLoader:
        prompts = self.split("val", self.val_samples)
        # where they are too few for all processes, each answers all of them
        self.val_processes = self.processes if len(prompts) >= self.processes.count else ALONE
        prompts.records = self.val_processes.share(prompts.records)
        return self.loader(prompts)

    def loader(self, prompts: Prompts, batch_size: int = 64) -> DataLoader:
        """In order, for evaluation."""
        return make_loader(prompts, batch_size=batch_size, **self.workers)


def _spread(records: Sequence[Record], count: int) -> list[Record]:
    """So many of the records, evenly spread."""
    return [records[k * len(records) // count] for k in range(count)]
