"""`Exam`: what every stage of a run is asked, and what of it leaks into training; each is read once."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from umed.errors import InputError
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.evaluation.leaks import leaked_items
from umed.records import Record, RecordSet, read_records


class Exam:
    """MAU's records and the benchmarks of `cfg`.

    Args:
        data: MAU's records; None leaves MAU out.
        trained_on: what the run trains on, if it trains.

    Raises:
        InputError: a benchmark that cannot be read.
    """

    def __init__(self, cfg: DictConfig, data: RecordSet | None, trained_on: RecordSet | None = None) -> None:
        self.cfg, self.data, self.run = cfg, data, Path(cfg.paths.run_dir)
        self.module = _benchmarks(cfg)
        self.trained_on = trained_on

    @cached_property
    def leaked(self) -> Mapping[str, set[str]]:
        """Ids of the items whose picture lies in training, see `leaked_items`; empty if that is not asked for."""
        if not self.cfg.data.evaluate.leaks:
            return {}
        return leaked_items(self.cfg, self.data, self.module, self.run, self.trained_on)

    def check(self) -> None:
        """Refuse a test picture that cannot be opened, before anything long begins."""
        _ = self.leaked

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
