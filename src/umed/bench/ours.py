"""Our side: the methods under a Lightning trainer, built from the configuration as a training stage builds them."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from umed.bench.clock import StepClock
from umed.bench.job import Job
from umed.bench.shapes import Shape
from umed.data.mau import MauDataModule
from umed.engine.budget import Budget
from umed.engine.engine import Engine
from umed.evaluation.ask import ask_questions
from umed.evaluation.benchmarks.mau import NAME, MauBenchmark
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.methods.base import Method
from umed.models.load import build_policy
from umed.models.policy import Policy
from umed.training import build_method, build_trainer
from umed.training_data import datamodule_of

BACKBONE = "umed.models.backbones.qwen2_5_vl"
LR = 1e-5
SAMPLES = 4  # sampled answers a question, beside the greedy one
TEXT_REWARD = {"_target_": "umed.bench.reward.TextReward"}
ONE_UPDATE = {"num_epochs": 1, "num_minibatches": 1}
PLAIN = {"lr": LR, "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "max_grad_norm": 1.0}


def reward(job: Job, clock: StepClock, full: bool = False) -> None:
    """Rewarding: TRL's mathematics, or in `full` the method as configured, with its critic and rewards."""
    _fit(job, clock, rewarding_config(job, full))


def tune(job: Job, clock: StepClock) -> None:
    """Fine-tuning; the first pass over the records is the warm-up."""
    _fit(job, clock, tuning_config(job))


def evaluate(job: Job, clock: StepClock) -> None:
    """Greedy and sampled answers to one batch of questions a step."""
    cfg, shape = tuning_config(job), job.shape
    policy = build_fixed_length(cfg, device="cuda" if shape.gpu else "cpu").eval()
    engine = Engine(policy, Budget(cfg.engine.tokens))
    benchmark = MauBenchmark(job.records(shape.answers * job.total), split="train")
    protocol = instantiate(cfg.data.protocol)
    data = BenchmarkDataModule({NAME: benchmark}, policy.processor, protocol, batch_size=shape.answers)
    questions = data.questions_of[NAME]
    for number in clock.steps(job.total):
        asked = questions[number * shape.answers : (number + 1) * shape.answers]
        options: dict[str, Any] = {"samples": SAMPLES, "seed": job.seed, "questions": asked}
        ask_questions(engine, data, NAME, "", max_new_tokens=shape.answer_tokens, **options)


def rewarding_config(job: Job, full: bool = False) -> DictConfig:
    """The configuration of our rewarding."""
    cfg, shape = _base_config(job), job.shape
    with open_dict(cfg):
        cfg.method = cfg.task.rewarding
        cfg.method.update(PLAIN | ONE_UPDATE | {"batch_size": shape.queries, "num_candidates": shape.candidates})
        cfg.method.update({"steps": job.total, "max_new_tokens": shape.answer_tokens})
        if full:
            cfg.method.looking = "answer"  # random answers name nothing
        else:
            cfg.credit = cfg.task.group
            cfg.reward.update({"parts": {}, "normalize": "none", "advantage_in_reward": "false"})
            cfg.reward.parts = {"text": TEXT_REWARD}
            cfg.objective.update({"c2": 0.0, "c3": 0.0})
    return cfg


def tuning_config(job: Job) -> DictConfig:
    """The configuration of our fine-tuning: as many records a batch as rewarding has answers."""
    cfg, shape = _base_config(job), job.shape
    with open_dict(cfg):
        cfg.method = cfg.task.tuning
        cfg.method.update(PLAIN | {"batch_size": shape.answers, "steps": job.total})
    return cfg


def _base_config(job: Job) -> DictConfig:
    cfg, shape = job.cfg, job.shape
    path = str(job.model)
    processor = {"_target_": f"{BACKBONE}.Qwen25VLProcessor", "path": path, "max_prompt_tokens": 4096}
    with open_dict(cfg):
        cfg.callbacks, cfg.logger = {}, {}
        cfg.data.augment = {"horizontal_flip": 0.0, "vertical_flip": 0.0}
        cfg.engine.features.disk_mb = 0  # no turn profits from another's files
        cfg.model.processor = processor
        cfg.model.update({"path": path, "backbone": BACKBONE, "dtype": shape.dtype, "frozen": list(shape.frozen)})
        cfg.model.update({"adapter": _plain(shape), "gradient_checkpointing": False, "quantization": None})
        cfg.trainer.update({"accelerator": "gpu" if shape.gpu else "cpu", "devices": 1, "precision": "32-true"})
        cfg.trainer.update({"limit_val_batches": 0, "enable_checkpointing": False})
    return cfg


def _plain(shape: Shape) -> dict[str, Any] | None:
    return None if shape.adapter is None else dict(shape.adapter)


def build_fixed_length(cfg: DictConfig, **kwargs: Any) -> Policy:
    """The policy of a configuration; its answers never end."""
    policy = build_policy(cfg, None, **kwargs)
    policy.processor.suppressed_ids = (*policy.processor.suppressed_ids, *policy.processor.eos_ids)
    return policy


def build(job: Job, cfg: DictConfig) -> tuple[Method, MauDataModule]:
    """Method and data of a configuration."""

    def policy(dropout: float | None, critic: Any) -> Policy:
        return build_fixed_length(cfg, dropout=dropout, critic=critic, device="cuda" if job.shape.gpu else "cpu")

    method = build_method(cfg, cfg.method, policy=policy, total_batches=job.total, budget=Budget(cfg.engine.tokens))
    tuning = method.name == "sft"
    # fine-tuning goes over its records again and again; no picture of rewarding comes twice
    count = method.batch_size * (job.warmup if tuning else job.total)
    return method, datamodule_of(cfg, job.records(count), method.batch_size, job.total)


def _fit(job: Job, clock: StepClock, cfg: DictConfig) -> None:
    method, data = build(job, cfg)
    trainer = build_trainer(cfg, method.stage, max_epochs=1)
    trainer.callbacks.append(Watch(clock))  # type: ignore[attr-defined]
    trainer.fit(method, data)


class Watch(L.Callback):
    """Tells a clock of the steps of a Lightning trainer; the methods log the seconds of their parts."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.clock.start()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        logged: Mapping[str, Any] = trainer.callback_metrics
        for part in ("sample", "score"):
            self.clock.add(part, float(logged.get(f"time/{part}", 0.0)))
        self.clock.end_step()
