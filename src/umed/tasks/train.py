"""`task=train`: one method (`method=sft` or `method=aar`) on annotated records."""

from pathlib import Path

from omegaconf import DictConfig

from umed.annotate.stage import load_or_annotate
from umed.evaluation.evaluation_set import Exam
from umed.evaluation.tables import print_table
from umed.tasks.evaluate import asks_mau, evaluate_stage, print_rules
from umed.training import build_method, train_stage


def train(cfg: DictConfig) -> None:
    """Train, evaluate what came out, print the table; the adapter is in `<run>/adapter/`."""
    run = Path(cfg.paths.run_dir)
    stage = build_method(cfg, cfg.method).stage  # what cannot work is refused before anything long begins
    mau = asks_mau(cfg)
    data = load_or_annotate(cfg)
    exam = Exam(cfg, data if mau else None, data)
    exam.check()
    if not (run / "adapter" / "umed.json").is_file():
        train_stage(cfg, cfg.method, data, stage, cfg.init_from, run, run / "adapter")
    metrics = evaluate_stage(exam, stage, run / "adapter")
    print_rules(exam, stage, metrics, cfg.name)
    if mau:
        print_table(metrics, [stage], title=f"MAU {cfg.data.evaluate.split}, {cfg.name}")
