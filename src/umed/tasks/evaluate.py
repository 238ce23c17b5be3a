"""`task=evaluate`: a model or a run over MAU's test split and the benchmarks."""

from omegaconf import DictConfig

from umed.annotate.stage import load_or_annotate
from umed.engine.device import find_placement
from umed.evaluating import evaluate_and_log, print_evaluation
from umed.evaluation.evaluation_set import EvaluationSet, check_evaluation
from umed.evaluation.tables import print_stages
from umed.models.adapters import adapter_folder
from umed.training import stage_loggers


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Evaluate a model (`model=...`) or a run (`init_from=...`), and print every rule."""
    check_evaluation(cfg)
    if cfg.init_from is not None:
        adapter_folder(cfg.init_from)
    stage = "base" if cfg.init_from is None else "init_from"
    stage_loggers(cfg, stage)  # what a logger or this machine does not take is told before the model answers
    find_placement(cfg)
    evaluation_set = EvaluationSet(cfg, load_or_annotate(cfg) if cfg.data.evaluate.mau else None)
    evaluation = evaluate_and_log(evaluation_set, stage, cfg.init_from)
    title = cfg.init_from or cfg.model.path
    if cfg.data.evaluate.mau:
        print_stages({stage: evaluation.scores}, title=f"MAU {cfg.data.evaluate.split}, {title}")
    print_evaluation(evaluation_set, stage, evaluation.scores, title)
    return evaluation.metrics
