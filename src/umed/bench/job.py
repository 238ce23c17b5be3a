"""`Job`: what one process measures, as it is handed to that process."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from umed.bench.shapes import Shape
from umed.bench.workload import make_records
from umed.records import RecordSet
from umed.run_files import write_whole

MODEL, PICTURES, CONFIG = "model", "pictures", "config.yaml"


@dataclass(frozen=True, slots=True)
class Job:
    """One contender's turn at one shape.

    Args:
        folder: of the shape; holds `MODEL`, `PICTURES` and `CONFIG`, the whole configuration.
        warmup, steps: that are not and that are measured.
    """

    contender: str
    shape: Shape
    folder: Path
    warmup: int
    steps: int
    threads: int
    seed: int

    @property
    def total(self) -> int:
        return self.warmup + self.steps

    @property
    def model(self) -> Path:
        return self.folder / MODEL

    @property
    def cfg(self) -> DictConfig:
        """A copy of its own."""
        cfg = OmegaConf.load(self.folder / CONFIG)
        assert isinstance(cfg, DictConfig)
        return cfg

    def records(self, count: int) -> RecordSet:
        return make_records(self.shape, self.folder / PICTURES, count)

    def write(self, path: Path) -> None:
        write_whole(path, json.dumps({**asdict(self), "folder": str(self.folder)}))

    @classmethod
    def read(cls, path: Path) -> "Job":
        values = json.loads(path.read_text(encoding="utf-8"))
        shape = values.pop("shape")
        shape["frozen"] = tuple(shape["frozen"])
        return cls(shape=Shape(**shape), folder=Path(values.pop("folder")), **values)
