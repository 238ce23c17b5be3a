"""The records of each training batch: a pure function of (seed, batch number)."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Self

import torch
from torch.utils.data import Sampler

from umed.data.controls import SUFFIX
from umed.errors import check_choice
from umed.processes import ALONE, Processes
from umed.records import Record

CLASS_OF: dict[str, Callable[[Record], str] | None] = {
    "natural": None,
    "by_source": lambda record: record.source if record.boxes else record.source.removesuffix(SUFFIX),
    "by_category": lambda record: record.category,
}


class BatchPlan(Sampler[list[int]]):
    """Batches of records' positions, so that a resumed run sees the same ones.

    Without classes, the records are reshuffled for every pass, and passes follow each other without a gap. With
    classes, these take turns in an order that is reshuffled for every cycle, and each goes through its own records,
    reshuffled for every pass. One Lightning epoch is `every` batches, the interval between two checkpoints.

    Args:
        classes: the positions of each class's records, none of them empty.
        processes: of each batch, the places of this process are taken.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        every: int,
        classes: Sequence[Sequence[int]] | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.size, self.batch_size, self.seed, self.every, self.epoch = size, batch_size, seed, every, 0
        self.classes, self.processes = classes, processes

    @property
    def sampler(self) -> Self:
        """Itself: Lightning calls `set_epoch` on a batch sampler's sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, also after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.every

    @property
    def numbers(self) -> range:
        """The batches of this epoch."""
        return range(self.epoch * self.every, (self.epoch + 1) * self.every)

    def places(self, number: int) -> range:
        """Positions of a batch in the endless sequence of records."""
        return self.processes.share(range(number * self.batch_size, (number + 1) * self.batch_size))

    def batch(self, number: int) -> list[int]:
        return [self._find_record(place) for place in self.places(number)]

    def _find_record(self, place: int) -> int:
        if self.classes is None:
            return _shuffle((self.seed * 1_000_003 + place // self.size) % 2**63, self.size)[place % self.size]
        cycle, turn = divmod(place, len(self.classes))
        number = _shuffle(_mix(self.seed, "cycle", cycle), len(self.classes))[turn]
        positions = self.classes[number]
        data_pass, position = divmod(cycle, len(positions))  # each class has one turn a cycle
        return positions[_shuffle_class(_mix(self.seed, f"class {number}", data_pass), len(positions))[position]]

    def __iter__(self) -> Iterator[list[int]]:
        for number in self.numbers:
            yield self.batch(number)


class PlacedBatches(Sampler[list[tuple[int, int]]]):
    """The plan's batches with each record's place in it, from which its augmentation is drawn."""

    def __init__(self, plan: BatchPlan) -> None:
        self.sampler = plan

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number in self.sampler.numbers:
            yield list(zip(self.sampler.batch(number), self.sampler.places(number), strict=True))


def group_positions(records: Sequence[Record], kind: str) -> list[list[int]] | None:
    """Positions by source or category, by name; None for `natural`. Raises InputError: an unknown kind."""
    key = CLASS_OF[check_choice("data.sampler", kind, *CLASS_OF)]
    if key is None:
        return None
    positions: dict[str, list[int]] = defaultdict(list)
    for position, record in enumerate(records):
        positions[key(record)].append(position)
    return [positions[name] for name in sorted(positions)]


def _permute(seed: int, size: int) -> list[int]:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed)).tolist()


_shuffle = lru_cache(maxsize=4)(_permute)
_shuffle_class = lru_cache(maxsize=256)(_permute)  # one permutation for each class is in use


def _mix(seed: int, what: str, number: int) -> int:
    digest = hashlib.sha256(f"{seed}/{what}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
