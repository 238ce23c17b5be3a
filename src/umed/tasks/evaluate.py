"""`task=evaluate`: answer the test split and measure: greedy answers for every rule, sampled ones for `iou_sampled`."""

from pathlib import Path

import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig
from tqdm import tqdm

from umed.analysis import open_run
from umed.callbacks.wandb_tables import log_evaluation
from umed.data.mau import MauDataModule
from umed.metrics.files import update_metrics
from umed.metrics.mau import Line, answer_lines, mau_metrics
from umed.models.policy import Policy
from umed.records import write_jsonl
from umed.tasks.annotate import annotated
from umed.tasks.fit import Data, build_policy, datamodule_of
from umed.tasks.table import print_table


def evaluate(cfg: DictConfig) -> None:
    """Evaluate a model (`model=...`) or a run (`init_from=...`) on the test split."""
    stage = "base" if cfg.init_from is None else "init_from"
    metrics = evaluate_stage(cfg, annotated(cfg), stage, cfg.init_from, Path(cfg.paths.run_dir))
    print_table(metrics, [stage], title=f"MAU {cfg.data.evaluate.split}, {cfg.init_from or cfg.model.path}")


def evaluate_stage(cfg: DictConfig, data: Data, stage: str, adapter: str | Path | None, run: Path) -> dict[str, float]:
    """Predictions to `predictions/<stage>/mau.jsonl`, metrics to `metrics.json` under `<stage>/`.

    Sampling is seeded: a second call writes the same. The stage's W&B run gets metrics, examples and answers.
    """
    path = run / "predictions" / stage / "mau.jsonl"
    options = cfg.data.evaluate
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = build_policy(cfg, str(adapter) if adapter else None, 0.0, device)
    greedy, sampled = answer(
        policy,
        datamodule_of(cfg, data),
        options.split,
        stage,
        max_new_tokens=cfg.method.max_new_tokens,
        at_most=cfg.limits.eval_samples or options.at_most,
        samples=options.samples,
        seed=cfg.seed,
        batch_size=options.batch_size,
    )
    write_jsonl(path, greedy)
    write_jsonl(path.with_name("mau_sampled.jsonl"), sampled)
    found = measure(greedy, sampled)
    metrics = {f"{stage}/{name}": value for name, value in found.items()}
    update_metrics(run / "metrics.json", metrics)
    for make in instantiate(cfg.logger).values():
        logger = make(stage=stage, run=run)
        if isinstance(logger, WandbLogger):
            log_evaluation(logger, found, greedy, open_run(run).examples(stages=[stage]))
    return metrics


def answer(
    policy: Policy,
    data: MauDataModule,
    split: str,
    title: str,
    *,
    max_new_tokens: int,
    at_most: int | None = None,
    samples: int = 0,
    seed: int = 0,
    batch_size: int = 64,
) -> tuple[list[Line], list[Line]]:
    """Greedy lines and, for `samples` > 0, that many sampled lines a query (temperature 1), of a split."""
    greedy: list[Line] = []
    sampled: list[Line] = []
    prompts = data.split(split, at_most)
    with tqdm(total=len(prompts), desc=f"{title}: answering {split}", unit="query", leave=False, disable=None) as bar:
        for number, batch in enumerate(data.loader(prompts, batch_size)):
            greedy += answer_lines(policy.processor, batch, policy.sample(batch, 1, max_new_tokens, greedy=True))
            if samples:
                generator = torch.Generator(policy.device).manual_seed(seed * 1_000_003 + number)
                said = policy.sample(batch, samples, max_new_tokens, generator=generator)
                sampled += answer_lines(policy.processor, batch, said)
            bar.update(len(batch))
    return greedy, sampled


def measure(greedy: list[Line], sampled: list[Line]) -> dict[str, float]:
    """All rules on the greedy answers, and `mau/iou_sampled` on the sampled ones."""
    metrics = mau_metrics(greedy)
    if sampled:
        metrics |= {k.replace("mau/iou", "mau/iou_sampled"): v for k, v in mau_metrics(sampled, ["iou"]).items()}
    return metrics
