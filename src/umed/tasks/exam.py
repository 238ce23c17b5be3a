"""`Exam`: what every stage of a run is asked, and what of it leaks into training; each is read once."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from umed.data.benchmarks import BenchmarkDataModule
from umed.errors import InputError
from umed.records import Record, read_records
from umed.tasks.fit import Data
from umed.tasks.leaks import leaked_items


class Exam:
    """MAU's records and the benchmarks of `cfg`.

    Args:
        data: MAU's records; None leaves MAU out.
        trained_on: what the run trains on, where that is not `data`.

    Raises:
        InputError: a benchmark or a test picture that cannot be read.
    """

    def __init__(self, cfg: DictConfig, data: Data | None, trained_on: Data | None = None) -> None:
        self.cfg, self.data, self.run = cfg, data, Path(cfg.paths.run_dir)
        self.module = _benchmarks(cfg)
        self.leaked: Mapping[str, set[str]] = {}  # ids of the items whose picture lies in training
        if cfg.data.evaluate.leaks:
            self.leaked = leaked_items(cfg, data, self.module, self.run, trained_on)

    @cached_property
    def controls(self) -> list[Record]:
        """Pictures known to be normal, of the file beside the records; none where there is no such file.

        Raises:
            InputError: the folder of their pictures is not known.
        """
        near = [self.run, *([Path(self.cfg.records).parent] if self.cfg.records else [])]
        path = next((p / "controls.jsonl" for p in near if (p / "controls.jsonl").is_file()), None)
        controls = read_records(path, controls=True) if path else []
        known = self.data.roots if self.data else {}
        if lost := sorted({c.source for c in controls} - known.keys()):
            raise InputError(
                f"{path}: no folder is known for {', '.join(lost)}: keep sources.json beside it or remove it"
            )
        return controls


def _benchmarks(cfg: DictConfig) -> BenchmarkDataModule | None:
    chosen_ones = cfg.data.get("benchmark") or {}
    if not chosen_ones:
        return None
    return BenchmarkDataModule(
        {str(name): instantiate(benchmark) for name, benchmark in chosen_ones.items()},
        instantiate(cfg.model.processor),
        instantiate(cfg.data.protocol),
        batch_size=cfg.data.evaluate.batch_size,
        at_most=cfg.limits.eval_samples or cfg.data.evaluate.at_most,
        num_workers=cfg.data.num_workers,
    )
