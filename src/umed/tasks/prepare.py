"""`task=prepare`: sources on disk -> records, what was dropped, controls, a manifest, a table and contact sheets."""

from omegaconf import DictConfig

from umed.data import prepare as data
from umed.records import Record


def prepare(cfg: DictConfig) -> list[Record]:
    """Read every source of `cfg.data.source` into the run folder."""
    return data.prepare(cfg)
