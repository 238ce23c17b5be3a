"""Benchmarks and scorers: those of this folder, and of the classes that a config names; the rules' options."""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from inspect import getmembers, isabstract, isclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from umed.config import create, find_target
from umed.evaluation.benchmarks.base import Benchmark, check_benchmark
from umed.evaluation.scorer import Options, Scorer


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
    """The same, with those of the benchmarks in `data/benchmark` that a user has elsewhere; none of them is built.

    Raises:
        InputError: a class that there is not, or that lacks what a benchmark needs.
    """
    scorers = dict(find_scorers())
    for name, node in (cfg.data.get("benchmark") or {}).items():
        scorers |= check_benchmark(str(name), find_target(f"data.benchmark.{name}", node)).scorers
    return scorers


def build_benchmarks(cfg: DictConfig) -> dict[str, Benchmark]:
    """The benchmarks of `data/benchmark`, by name.

    Raises:
        InputError: a class that lacks what a benchmark needs.
    """
    benchmarks = {}
    for name, node in (cfg.data.get("benchmark") or {}).items():
        benchmarks[str(name)] = check_benchmark(str(name), create(node))
    return benchmarks


def build_options(
    cfg: DictConfig, allow_others: bool = False, compat: Iterable[str] = (), judges: bool = False
) -> Options:
    """The rules' options of a config.

    Args:
        judges: whether open answers are judged where the config has a judge.

    Raises:
        InputError: settings of that judge that cannot be, or no key for it.
    """
    synonyms = OmegaConf.to_container(cfg.data.synonyms, resolve=True)
    assert isinstance(synonyms, dict)
    judge = create(cfg.open_judge) if judges and cfg.get("open_judge") else None
    return Options(tuple(compat), {str(name): tuple(others) for name, others in synonyms.items()}, allow_others, judge)


def _is_benchmark(member: Any) -> bool:
    return isclass(member) and issubclass(member, Benchmark) and not isabstract(member)
