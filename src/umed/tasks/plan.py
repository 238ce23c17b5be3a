"""`task=plan`: how much memory a model needs, and which budget fits, before anything is downloaded."""

import json
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from umed import config
from umed.engine.plan import GB, RESERVED, Plan
from umed.engine.planner import Planner
from umed.errors import InputError, check_positive
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.sft import AbnormalAwareTuning
from umed.run_files import write_whole

DEVICES = (16, 24, 40, 80)  # GB
METHODS = {"sft": AbnormalAwareTuning, "aar": AbnormalAwareRewarding}
TITLES = {"sft": "tuning (sft)", "aar": "rewarding (aar)", "evaluate": "evaluation"}


def plan(cfg: DictConfig) -> None:
    """Count all passes, print the table, write it to `<run>/plan.json`.

    Raises:
        InputError: another method, a configuration that cannot be read, a budget below one prompt and answer.
    """
    target = config.find_target("method", cfg.method)
    method = next((name for name, kind in METHODS.items() if target is kind), None)
    if method is None:
        raise InputError(f"method={cfg.method._target_}: task=plan knows method=sft and method=aar")
    for option in ("tokens", "text_tokens"):
        check_positive(f"task.{option}", cfg.task[option])
    settings = {name: cfg.method if name == method else cfg.task[name] for name in METHODS}
    gpu = str(cfg.trainer.accelerator) != "cpu"
    counted = Planner(cfg, cfg.task.text_tokens, gpu).plan(**settings, evaluate=cfg.method)
    tokens, chosen = cfg.task.tokens, counted.phases[method]
    if tokens < chosen.least:
        raise InputError(
            f"engine.tokens={tokens}: one prompt with its answer takes {chosen.least} tokens ({counted.image_tokens} "
            f"of the picture, {counted.prompt_tokens - counted.image_tokens} of text, {cfg.method.max_new_tokens} of "
            "the answer): raise it, or lower model.processor's picture size or method.max_new_tokens"
        )
    _print(counted, cfg, method)
    evaluation = counted.phases["evaluate"]
    summary = {
        "model": cfg.model.path,
        "method": method,
        "tokens": tokens,
        "peak_gb": {name: round(phase.peak(tokens) / GB, 2) for name, phase in counted.phases.items()},
        "weights_gb": round(chosen.weights / GB, 2),
        "per_token_mb": {
            "activations": round(chosen.activations / 2**20, 3),
            "cache": round(evaluation.cache / 2**20, 4),
        },
        "largest_budget": {str(size): counted.largest_budget(size * GB, method) for size in DEVICES},
    }
    path = Path(cfg.paths.run_dir) / "plan.json"
    write_whole(path, json.dumps(summary, indent=1) + "\n")
    print(f"-> {path}")


def _print(counted: Plan, cfg: DictConfig, method: str) -> None:
    tokens, chosen = cfg.task.tokens, counted.phases[method]
    trained = "all weights" if cfg.model.adapter is None else f"an adapter of rank {cfg.model.adapter.r}"
    table = Table(
        "",
        f"peak, {tokens:,} tokens",
        *(f"{size} GB" for size in DEVICES),
        title=f"{escape(str(cfg.model.path))}, {trained}: memory, and the largest engine.tokens on a device",
        title_justify="left",
    )
    for name, phase in counted.phases.items():
        budgets = [phase.largest_budget(size * GB * (1 - RESERVED)) for size in DEVICES]
        peak = f"{phase.peak(tokens) / GB:.1f} GB"
        table.add_row(TITLES[name], peak, *("does not fit" if b is None else f"{b:,}" for b in budgets))
    Console(width=120).print(table)
    text = counted.prompt_tokens - counted.image_tokens
    print(
        f"weights {chosen.weights / GB:.1f} GB; a token takes {chosen.activations / 2**20:.2f} MB in method={method} "
        f"and {chosen.cache / 2**20:.3f} MB of cache\n"
        f"a prompt has {counted.image_tokens} tokens of its picture and {text} of text, an answer "
        f"{cfg.method.max_new_tokens}; one of both takes {chosen.least}\n"
        f"{RESERVED:.0%} of a device is left free; 1 GB is 2^30 bytes"
    )
