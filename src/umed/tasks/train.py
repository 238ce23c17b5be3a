"""`task=train`: one method (`method=sft` or `method=aar`) on annotated records."""

from pathlib import Path

from omegaconf import DictConfig

from umed.tasks.annotate import annotated
from umed.tasks.evaluate import evaluate_stage
from umed.tasks.fit import fit, made
from umed.tasks.table import print_table


def train(cfg: DictConfig) -> None:
    """Train, evaluate what came out, print the table; the adapter is in `<run>/adapter/`."""
    run = Path(cfg.paths.run_dir)
    stage = made(cfg, cfg.method).stage  # what cannot work is refused before anything long begins
    data = annotated(cfg)
    if not (run / "adapter" / "umed.json").is_file():
        fit(cfg, cfg.method, data, stage, cfg.init_from, run, run / "adapter")
    metrics = evaluate_stage(cfg, data, stage, run / "adapter", run)
    print_table(metrics, [stage], title=f"MAU {cfg.data.evaluate.split}, {cfg.name}")
