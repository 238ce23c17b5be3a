"""The scorers of all data sets: those of this folder's benchmarks, and of the classes that a config names."""

from functools import cache
from importlib import import_module
from inspect import getmembers, isabstract, isclass
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from umed.evaluation.benchmarks.base import Benchmark
from umed.evaluation.scorer import Scorer


@cache
def find_scorers() -> dict[str, Scorer]:
    """Data set -> scorer, of every benchmark with a file in this folder; MAU first."""
    names = sorted((p.stem for p in Path(__file__).parent.glob("*.py")), key=lambda name: (name != "mau", name))
    scorers: dict[str, Scorer] = {}
    for name in names:
        if name == "__init__":
            continue
        for _, member in getmembers(import_module(f"{__package__}.{name}"), _is_benchmark):
            scorers |= member.scorers
    return scorers


def scorers_of(cfg: DictConfig) -> dict[str, Scorer]:
    """The same, with those of the benchmarks in `data/benchmark` that a user has elsewhere; none of them is built."""
    scorers = dict(find_scorers())
    for node in (cfg.data.get("benchmark") or {}).values():
        scorers |= get_class(node._target_).scorers  # type: ignore[attr-defined]
    return scorers


def _is_benchmark(member: Any) -> bool:
    return isclass(member) and issubclass(member, Benchmark) and not isabstract(member)
