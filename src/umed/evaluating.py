"""Evaluate a stage and show it: on the terminal and in W&B."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig

from umed.analysis import open_run
from umed.callbacks.wandb_artifacts import log_artifacts
from umed.callbacks.wandb_tables import log_evaluation
from umed.engine.device import count_processes, find_placement
from umed.engine.memory import release_memory
from umed.evaluation.benchmarks.find import scorers_of
from umed.evaluation.evaluate import Evaluation, evaluate_stage
from umed.evaluation.evaluation_set import EvaluationSet
from umed.evaluation.leaks import read_leaks
from umed.evaluation.prediction_files import read_judge, read_predictions
from umed.evaluation.score import Score, read_scores
from umed.evaluation.tables import print_rules, write_notes
from umed.launch import launch
from umed.orders import write_order
from umed.processes import ALONE, Processes, join
from umed.records import RecordSet
from umed.training import stage_loggers


def evaluate_and_log(
    evaluation_set: EvaluationSet, stage: str, adapter: str | Path | None, *, substitutes: bool = True
) -> Evaluation:
    """`evaluate_stage`; metrics, examples and answers go into the stage's W&B run, if there is one.

    Where the config asks for several processes, they are started and share the questions; what is returned has scores
    only then.
    """
    if count_processes(evaluation_set.cfg) != (1, 1):
        return _launch(evaluation_set, stage, adapter, substitutes)
    return _evaluate(evaluation_set, stage, adapter, substitutes, ALONE)


def _evaluate(
    evaluation_set: EvaluationSet, stage: str, adapter: str | Path | None, substitutes: bool, processes: Processes
) -> Evaluation:
    evaluation = evaluate_stage(evaluation_set, stage, adapter, substitutes=substitutes, processes=processes)
    run = evaluation_set.run
    for logger in [] if processes.rank else stage_loggers(evaluation_set.cfg, stage):
        if isinstance(logger, WandbLogger):
            figure = open_run(run).examples(stages=[stage]) if "mau" in evaluation.predictions else None
            log_evaluation(logger, evaluation, figure)
            start = None if adapter is None else Path(adapter)
            trained = (run / "checkpoints" / stage).is_dir()
            log_artifacts(logger.experiment, run, stage, start, trained)
            logger.experiment.finish()
    return evaluation


def _launch(evaluation_set: EvaluationSet, stage: str, adapter: str | Path | None, substitutes: bool) -> Evaluation:
    _ = evaluation_set.leaked  # written by this process, which the others cannot ask
    cfg, run = evaluation_set.cfg, evaluation_set.run
    data = {"data": evaluation_set.records, "trained_on": evaluation_set.trained_on}
    settings = {"stage": stage, "adapter": None if adapter is None else str(adapter), "substitutes": substitutes}
    write_order(cfg, f"evaluate_{stage}", data, "evaluate", settings)
    release_memory()  # the processes need it
    launch(cfg, f"evaluate_{stage}")
    return Evaluation(stage, scores=read_scores(run, stage))


def answer_together(
    cfg: DictConfig, data: Mapping[str, RecordSet], stage: str, adapter: str | None, substitutes: bool
) -> None:
    """This process's part of an evaluation, as `evaluate_and_log` has prepared it."""
    here, nodes = count_processes(cfg)
    processes = join(find_placement(cfg).device, here * nodes)
    leaked = read_leaks(Path(cfg.paths.run_dir)) if cfg.data.evaluate.leaks else {}
    evaluation_set = EvaluationSet(cfg, data.get("data"), data.get("trained_on"), leaked)
    _evaluate(evaluation_set, stage, adapter, substitutes, processes)


def print_evaluation(evaluation_set: EvaluationSet, stage: str, scores: Sequence[Score], title: str) -> None:
    """Print a stage by every rule, the baselines beside, and what a reader of these numbers should know."""
    print_rules(scores, f"{title}, protocol {evaluation_set.cfg.data.protocol.name}", stage)
    scorers = scorers_of(evaluation_set.cfg)
    folder = evaluation_set.run / "predictions" / stage
    for note in write_notes(read_predictions(folder, scorers), scores, scorers, read_judge(folder)):
        print(note)
