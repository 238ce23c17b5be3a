"""`paths.mau` in the experiments of the paper's tables: real data sets instead of the synthetic pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from umed.errors import InputError
from umed.names import is_training

STAND_IN = ["phantom"]
GROUPS = ("source", "benchmark")  # of `data`; the rest of `on_mau` are settings of `data` that hold on MAU
ADVICE = "docs/data.md and docs/benchmarks.md name where each comes from"


def use_mau(cfg: DictConfig, overrides: Sequence[str] = ()) -> DictConfig:
    """The config with `on_mau` in place of what it replaces in `data`, if `paths.mau` is set; without `on_mau` then.

    Sources, benchmarks and settings chosen on the command line stay.

    Args:
        overrides: of the command line.

    Raises:
        InputError: a data set's folder is not there: which, and how to get it or go without.
    """
    with open_dict(cfg):
        on_mau = cfg.pop("on_mau", None)
        if cfg.paths.mau is not None:
            chosen: dict[str, Any] = {str(name): node for name, node in (on_mau or {}).items()}
            for group in GROUPS:
                node = chosen.pop(group, None)
                if node is not None and list(cfg.data.get(group) or {}) == STAND_IN:
                    cfg.data[group] = node
            keys = [o.key_or_group for o in OverridesParser.create().parse_overrides(list(overrides))]
            given = {key: OmegaConf.select(cfg, key) for key in keys if key.startswith("data.")}
            cfg.data = OmegaConf.merge(cfg.data, chosen)
            for key, value in given.items():
                OmegaConf.update(cfg, key, value)
            if is_training(cfg.task._target_):  # before anything long begins
                check_folders(cfg)
    return cfg


def check_folders(cfg: DictConfig) -> None:
    """Refuse data sets in `paths.mau` that are not there. Raises InputError: all of them in one line."""
    mau = Path(cfg.paths.mau)
    for group in GROUPS[1:] if cfg.records else GROUPS:
        roots = {name: node.get("root") for name, node in (cfg.data.get(group) or {}).items()}
        inside = {name: Path(root) for name, root in roots.items() if root and mau in Path(root).parents}
        lost = {name: root.name for name, root in inside.items() if not root.is_dir()}
        if lost:
            there = ",".join(str(name) for name in roots if name not in lost)
            raise InputError(
                f"paths.mau={mau}: no {', '.join(f'{folder}/' for folder in lost.values())} there: put the release in "
                f"({ADVICE}), or choose the others, 'data/{group}=[{there}]'"
            )
