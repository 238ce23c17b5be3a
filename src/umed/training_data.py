"""What a stage trains on: the records that are kept, checked before anything long begins, and their data module."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hydra.utils import instantiate
from omegaconf import DictConfig

from umed.data.check_records import check_records
from umed.data.mau import MauDataModule
from umed.data.sample import choose_queries
from umed.engine.budget import Budget
from umed.methods.base import Method
from umed.models.lengths import Lengths
from umed.processes import ALONE, Processes
from umed.records import RecordSet


def datamodule_of(
    cfg: DictConfig,
    data: RecordSet,
    batch_size: int = 1,
    every: int = 1,
    val_samples: int = 1,
    processes: Processes = ALONE,
) -> MauDataModule:
    """The data module of `cfg.data`."""
    return MauDataModule(
        data.records,
        data.roots,
        instantiate(cfg.model.processor),
        batch_size=batch_size,
        seed=cfg.seed,
        every=every,
        val_samples=val_samples,
        sampler=cfg.data.sampler,
        augment=cfg.data.augment,
        num_workers=cfg.data.num_workers,
        prefetch=cfg.data.prefetch,
        processes=processes,
    )


def keep_fraction(cfg: DictConfig, data: RecordSet, queries: str = "annotated") -> RecordSet:
    """The data with `data.fraction` of its train records, or with the others of them, see `choose_queries`."""
    kept = choose_queries(data.records, cfg.data.fraction, cfg.data.split.seed, queries)
    if len(kept) < len(data.records):
        print(f"data.fraction={cfg.data.fraction}: {len(data.records) - len(kept)} train records left out")
    return replace(data, records=kept)


def check_data(cfg: DictConfig, data: RecordSet) -> dict[str, tuple[int, int]]:
    """Check every record that training or validation would read, in seconds.

    Returns:
        Tokens of each record's prompt and gold answer, by id.

    Raises:
        InputError: see `check_records`.
    """
    used = [r for r in data.records if r.split in ("train", "val")]
    return check_records(used, data.roots, Lengths(instantiate(cfg.model.processor)))


def check_sizes(budget: Budget, method: Method, sizes: Mapping[str, tuple[int, int]], records: Iterable[str]) -> None:
    """Refuse a budget that one of the records is above.

    Args:
        sizes: tokens of each record's prompt and gold answer.

    Raises:
        InputError: naming the largest record.
    """
    budget.check(*find_largest(method, sizes, records))


def find_largest(method: Method, sizes: Mapping[str, tuple[int, int]], records: Iterable[str]) -> tuple[int, str]:
    """Tokens of the largest prompt with its answer, and which record it is; see `check_sizes`."""
    needed = ((sizes[i][0] + method.longest_answer(sizes[i][1]), i) for i in records)
    return max(needed, default=(0, ""))
