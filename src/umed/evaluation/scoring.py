"""Benchmarks and the rules' options as a config asks for them."""

from collections.abc import Iterable

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from umed.evaluation.benchmarks.base import Benchmark, check_benchmark
from umed.evaluation.scorer import Options


def build_benchmarks(cfg: DictConfig) -> dict[str, Benchmark]:
    """The benchmarks of `data/benchmark`, by name.

    Raises:
        InputError: a class that lacks what a benchmark needs.
    """
    benchmarks = {}
    for name, node in (cfg.data.get("benchmark") or {}).items():
        benchmarks[str(name)] = check_benchmark(str(name), instantiate(node))
    return benchmarks


def build_options(cfg: DictConfig, allow_others: bool = False, compat: Iterable[str] = ()) -> Options:
    """The rules' options of a config."""
    synonyms = OmegaConf.to_container(cfg.data.synonyms, resolve=True)
    assert isinstance(synonyms, dict)
    return Options(tuple(compat), {str(name): tuple(others) for name, others in synonyms.items()}, allow_others)
