"""The evaluation set of a run: MAU and the chosen benchmarks, read once and asked of every stage."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from umed import config
from umed.data.controls import find_controls, read_controls
from umed.data.loading import check_workers
from umed.engine.choose import check_engine
from umed.errors import InputError, check_choice, check_number, check_positive
from umed.evaluation.benchmarks.base import Benchmark
from umed.evaluation.benchmarks.find import build_benchmarks, build_options, scorers_of
from umed.evaluation.benchmarks.mau import MauBenchmark
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.evaluation.leaks import find_leaks
from umed.records import RecordSet, read_record_set

ROWS = ("majority", "question_prior", "black", "shuffled", "td_compat")


class EvaluationSet:
    """Every question that a stage of a run is asked.

    Args:
        data: MAU's records; None leaves MAU out.
        trained_on: what the run trains on, if it trains.
        leaked: if another process has looked for leaks, what it has found.

    Raises:
        InputError: a benchmark that cannot be read.
    """

    def __init__(
        self,
        cfg: DictConfig,
        data: RecordSet | None,
        trained_on: RecordSet | None = None,
        leaked: Mapping[str, set[str]] | None = None,
    ) -> None:
        self.cfg, self.records, self.run, self.trained_on = cfg, data, Path(cfg.paths.run_dir), trained_on
        self._leaked = leaked
        self.at_most: int | None = cfg.limits.eval_samples or cfg.data.evaluate.at_most
        benchmarks: dict[str, Benchmark] = {}
        if data is not None:
            controls = read_controls(find_controls(cfg), data.roots)
            benchmarks["mau"] = MauBenchmark(data, cfg.data.evaluate.split, controls)
        benchmarks |= build_benchmarks(cfg)
        self.data = BenchmarkDataModule(
            benchmarks,
            config.create(cfg.model.processor),
            config.create(cfg.data.protocol),
            batch_size=cfg.data.evaluate.batch_size,
            at_most=self.at_most,
            num_workers=cfg.data.num_workers,
        )

    @cached_property
    def leaked(self) -> Mapping[str, set[str]]:
        """Ids of the items whose picture lies in training, see `find_leaks`; empty if that is not asked for.

        Raises:
            InputError: a test picture cannot be opened; ask for this before anything long begins.
        """
        if self._leaked is not None or not self.cfg.data.evaluate.leaks:
            return self._leaked or {}
        tuned_on = self.trained_on or _find_tuning_records(self.cfg.init_from) or self.records
        return find_leaks(self.data, tuned_on, self.run, self.cfg.data.prepare.workers or os.cpu_count() or 1)


def check_evaluation(cfg: DictConfig) -> None:
    """Refuse evaluation settings that cannot be, before anything long begins.

    Raises:
        InputError: a row that is none, a number or a switch that is none, a class that is no benchmark, a judge that
            cannot be asked, or nothing at all is asked.
    """
    options = cfg.data.evaluate
    if not isinstance(options.sanity, ListConfig):
        raise InputError(f"data.evaluate.sanity={options.sanity}: a list is needed, [] for none")
    for row in options.sanity:
        check_choice("data.evaluate.sanity", row, *ROWS)
    for name in ("mau", "leaks"):
        if not isinstance(options[name], bool):
            raise InputError(f"data.evaluate.{name}={options[name]}: choose true or false")
    check_positive("data.evaluate.at_most", options.at_most)
    check_positive("data.evaluate.batch_size", options.batch_size)
    check_number("data.evaluate.alone", options.alone, at_least=0)
    if options.alone != int(options.alone):
        raise InputError(f"data.evaluate.alone={options.alone}: a whole number is needed")
    check_workers(cfg.data.num_workers)
    check_engine(cfg)
    if not options.mau and not cfg.data.get("benchmark"):
        raise InputError(
            "nothing to evaluate: set data.evaluate.mau=true or choose benchmarks, 'data/benchmark=[slake]'"
        )
    if options.alone and not options.mau:
        raise InputError(f"data.evaluate.alone={options.alone}: its queries are MAU's; set data.evaluate.mau=true")
    scorers_of(cfg)
    build_options(cfg, judges=True)
    build_benchmarks(cfg)  # reads no file, but refuses what is not set


def _find_tuning_records(init_from: str | None) -> RecordSet | None:
    """The records that a run was trained on, of the folder that its adapter lies in."""
    if init_from is None:
        return None
    folders = [Path(init_from), *list(Path(init_from).resolve().parents)[:2]]
    run = next((f for f in folders if all((f / name).is_file() for name in ("records.jsonl", "sources.json"))), None)
    reason = "its run folder has them"
    if run is not None:
        try:
            data = read_record_set(run)
            if not {record.source for record in data.records} - data.roots.keys():
                return data
            reason = f"{run / 'sources.json'} lacks a source"
        except InputError as error:
            reason = str(error)
    print(f"leaks: the records that {init_from} was trained on are not known ({reason}) and were not compared")
    return None
