"""`task=train`: one method (`method=sft` or `method=aar`) on annotated records."""

from pathlib import Path

from omegaconf import DictConfig

from umed.annotate.stage import load_or_annotate
from umed.data.controls import add_controls
from umed.evaluating import evaluate_and_log, print_evaluation
from umed.evaluation.evaluation_set import EvaluationSet, check_evaluation
from umed.evaluation.tables import print_stages
from umed.models.adapters import adapter_folder
from umed.training import check_stage, train_stage


def train(cfg: DictConfig) -> dict[str, float]:
    """Train, evaluate the result and print the table; the adapter is in `<run>/adapter/`."""
    run = Path(cfg.paths.run_dir)
    stage = check_stage(cfg, cfg.method)
    check_evaluation(cfg)
    if cfg.init_from is not None:
        adapter_folder(cfg.init_from)
    data = load_or_annotate(cfg)
    trained = add_controls(cfg, data)
    evaluation_set = EvaluationSet(cfg, data if cfg.data.evaluate.mau else None, trained_on=trained)
    _ = evaluation_set.leaked  # a lost test picture is reported before training
    if not (run / "adapter" / "umed.json").is_file():
        train_stage(cfg, cfg.method, trained, stage, cfg.init_from, run, run / "adapter")
    evaluation = evaluate_and_log(evaluation_set, stage, run / "adapter")
    print_evaluation(evaluation_set, stage, evaluation.scores, cfg.name)
    if cfg.data.evaluate.mau:
        print_stages({stage: evaluation.scores}, title=f"MAU {cfg.data.evaluate.split}, {cfg.name}")
    return evaluation.metrics
