"""Members of a sweep, one run folder each: started again in the same folder, a sweep goes on where it was stopped."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from umed.names import is_training

FOLDER, DONE = ".hydra", "done"  # an empty file that ends a run


def is_started_member(cfg: DictConfig) -> bool:
    """Whether this is a training run of a sweep that an earlier call has begun, so that it is resumed."""
    if cfg.resume or not is_training(cfg.task._target_):
        return False
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    return (Path(cfg.paths.run_dir) / FOLDER / "config.yaml").is_file()


def is_done(run: Path) -> bool:
    """Whether the run's task came to its end."""
    return (run / FOLDER / DONE).is_file()


def mark_done(run: Path) -> None:
    """Note that a run's task came to its end; runs without a stored config are no members of anything."""
    if (run / FOLDER).is_dir():
        (run / FOLDER / DONE).touch()
