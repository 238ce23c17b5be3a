"""`paths.mau` in the experiments of the paper's tables: real data sets instead of the synthetic pictures."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from umed.errors import InputError

STAND_IN = ["phantom"]
GROUPS = ("source", "benchmark")  # of `data`; the rest of `on_mau` are settings of `data` that hold on MAU
ADVICE = "docs/data.md and docs/benchmarks.md name where each comes from"


def use_mau(cfg: DictConfig) -> DictConfig:
    """The config with `on_mau` in place of what it replaces in `data`, if `paths.mau` is set; without `on_mau` then.

    Sources and benchmarks chosen on the command line stay.

    Raises:
        InputError: a data set's folder is not there: which, and how to get it or go without.
    """
    with open_dict(cfg):
        on_mau = cfg.pop("on_mau", None)
        if on_mau is None or cfg.paths.mau is None:
            return cfg
        chosen: dict[str, Any] = {str(name): node for name, node in on_mau.items()}
        for group in GROUPS:
            node = chosen.pop(group, None)
            if node is not None and list(cfg.data.get(group) or {}) == STAND_IN:
                cfg.data[group] = node
        cfg.data = OmegaConf.merge(cfg.data, chosen)
    check_folders(cfg)
    return cfg


def check_folders(cfg: DictConfig) -> None:
    """Refuse data sets in `paths.mau` that are not there. Raises InputError: all of them in one line."""
    mau = Path(cfg.paths.mau)
    for group in GROUPS:
        roots = {name: node.get("root") for name, node in (cfg.data.get(group) or {}).items()}
        inside = {name: Path(root) for name, root in roots.items() if root and mau in Path(root).parents}
        lost = {name: root.name for name, root in inside.items() if not root.is_dir()}
        if lost:
            there = ",".join(str(name) for name in roots if name not in lost)
            raise InputError(
                f"paths.mau={mau}: no {', '.join(f'{folder}/' for folder in lost.values())} there: put the release in "
                f"({ADVICE}), or choose the others, 'data/{group}=[{there}]'"
            )
