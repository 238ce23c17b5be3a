"""Evaluate a stage and show it: on the terminal and in W&B."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import WandbLogger

from umed.analysis import open_run
from umed.callbacks.wandb_tables import log_evaluation
from umed.evaluation.benchmarks.find import scorers_of
from umed.evaluation.evaluate import Evaluation, evaluate_stage
from umed.evaluation.evaluation_set import EvaluationSet
from umed.evaluation.prediction_files import read_judge, read_predictions
from umed.evaluation.score import Score
from umed.evaluation.tables import print_rules, write_notes
from umed.training import stage_loggers


def evaluate_and_log(
    evaluation_set: EvaluationSet, stage: str, adapter: str | Path | None, *, substitutes: bool = True
) -> Evaluation:
    """`evaluate_stage`; metrics, examples and answers go into the stage's W&B run, if there is one."""
    evaluation = evaluate_stage(evaluation_set, stage, adapter, substitutes=substitutes)
    run = evaluation_set.run
    for logger in stage_loggers(evaluation_set.cfg, stage):
        if isinstance(logger, WandbLogger):
            figure = open_run(run).examples(stages=[stage]) if "mau" in evaluation.predictions else None
            log_evaluation(logger, evaluation, figure)
    return evaluation


def print_evaluation(evaluation_set: EvaluationSet, stage: str, scores: Sequence[Score], title: str) -> None:
    """Print a stage by every rule, the baselines beside, and what a reader of these numbers should know."""
    print_rules(scores, f"{title}, protocol {evaluation_set.cfg.data.protocol.name}", stage)
    scorers = scorers_of(evaluation_set.cfg)
    folder = evaluation_set.run / "predictions" / stage
    for note in write_notes(read_predictions(folder, scorers), scores, scorers, read_judge(folder)):
        print(note)
