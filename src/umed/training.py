"""A training stage: method, data and trainer brought together; its result is the adapter folder."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig

from umed import config
from umed.callbacks.checkpoints import AtomicCheckpointIO, newest_checkpoint
from umed.data.check_records import check_records
from umed.data.controls import check_share
from umed.data.mau import MauDataModule
from umed.data.sample import choose_queries
from umed.engine.budget import Budget
from umed.engine.choose import budget_of, check_engine
from umed.engine.device import create_trainer
from umed.errors import InputError, check_positive
from umed.methods.base import BuildPolicy, Method, planned_batches
from umed.methods.precision import check_precision
from umed.models.lengths import Lengths
from umed.models.load import build_policy, save_adapter, trains_whole
from umed.records import RecordSet


def datamodule_of(
    cfg: DictConfig, data: RecordSet, batch_size: int = 1, every: int = 1, val_samples: int = 1
) -> MauDataModule:
    """The data module of `cfg.data`."""
    return MauDataModule(
        data.records,
        data.roots,
        instantiate(cfg.model.processor),
        batch_size=batch_size,
        seed=cfg.seed,
        every=every,
        val_samples=val_samples,
        sampler=cfg.data.sampler,
        augment=cfg.data.augment,
        num_workers=cfg.data.num_workers,
        prefetch=cfg.data.prefetch,
    )


def keep_fraction(cfg: DictConfig, data: RecordSet, queries: str = "annotated") -> RecordSet:
    """The data with `data.fraction` of its train records, or with the others of them, see `choose_queries`."""
    kept = choose_queries(data.records, cfg.data.fraction, cfg.data.split.seed, queries)
    if len(kept) < len(data.records):
        print(f"data.fraction={cfg.data.fraction}: {len(data.records) - len(kept)} train records left out")
    return replace(data, records=kept)


def check_data(cfg: DictConfig, data: RecordSet) -> dict[str, tuple[int, int]]:
    """Check every record that training or validation would read, in seconds.

    Returns:
        Tokens of each record's prompt and gold answer, by id.

    Raises:
        InputError: see `check_records`.
    """
    used = [r for r in data.records if r.split in ("train", "val")]
    return check_records(used, data.roots, Lengths(instantiate(cfg.model.processor)))


def check_sizes(budget: Budget, method: Method, sizes: Mapping[str, tuple[int, int]], records: Iterable[str]) -> None:
    """Refuse a budget that one of the records is above.

    Args:
        sizes: tokens of each record's prompt and gold answer.

    Raises:
        InputError: naming the largest record.
    """
    needed = ((sizes[i][0] + method.longest_answer(sizes[i][1]), i) for i in records)
    budget.check(*max(needed, default=(0, "")))


def build_method(
    cfg: DictConfig,
    method_cfg: DictConfig,
    *,
    stage: str | None = None,
    policy: BuildPolicy | None = None,
    total_batches: int = 1,
    budget: Budget | None = None,
) -> Method:
    """The complete method; its policy is built when training starts.

    Args:
        stage: None = the method's own name.
        policy: builds the policy, None = from the base weights of `cfg.model`.
        budget: of tokens a pass, None = no limit.

    Raises:
        InputError: a setting that cannot be, or a reward that needs what the model's family cannot show.
    """
    method: Method = config.create(method_cfg)(
        policy or partial(build_policy, cfg, None), stage=stage, total_batches=total_batches, budget=budget
    )
    missing = import_module(cfg.model.backbone).BACKBONE.no_attention
    if missing and "attention" in method.needs:
        raise InputError(f"reward=[..., vision_relevance]: {missing}; leave it out: 'reward=[relevance,localization]'")
    return method


def check_stage(cfg: DictConfig, method_cfg: DictConfig, stage: str | None = None) -> str:
    """Refuse what cannot be trained before anything long begins; the name of the stage.

    Raises:
        InputError: a setting, reward, credit, critic, callback, logger or trainer that cannot be.
    """
    check_positive("data.checkpoint_every", cfg.data.checkpoint_every)
    check_share(cfg.data.controls)
    check_engine(cfg)
    stage = build_method(cfg, method_cfg, stage=stage).stage
    build_trainer(cfg, stage, max_epochs=1)
    check_precision(str(cfg.trainer.get("precision") or "32-true"), cfg.model.dtype, trains_whole(cfg))
    return stage


def build_trainer(cfg: DictConfig, stage: str, max_epochs: int) -> L.Trainer:
    """The trainer of a stage, with its callbacks and loggers.

    Raises:
        InputError: one of them cannot be.
    """
    stage_cfg = stage_config(cfg, stage)
    loggers, callbacks = stage_loggers(cfg, stage), _create_each(stage_cfg, "callbacks", L.Callback)
    return create_trainer(
        config.create(stage_cfg.trainer),
        default_root_dir=cfg.paths.run_dir,
        max_epochs=max_epochs,
        logger=loggers,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO(TorchCheckpointIO())],
    )


def stage_config(cfg: DictConfig, stage: str) -> DictConfig:
    """A copy of the config in which `${stage}` has its value."""
    copy = cfg.copy()
    copy.stage = stage
    return copy


def stage_loggers(cfg: DictConfig, stage: str) -> list[Logger]:
    """The loggers of `cfg.logger` for a stage."""
    return _create_each(stage_config(cfg, stage), "logger", Logger)


def _create_each(cfg: DictConfig, group: str, kind: type[Any]) -> list[Any]:
    """The objects of a config group, every one of this kind."""
    created = config.create(cfg.get(group, {}))  # the group is missing where none is chosen: logger=[]
    for name, one in created.items():
        if not isinstance(one, kind):
            wanted = f"{kind.__module__}.{kind.__qualname__}"
            raise InputError(f"{group}.{name}: {type(one).__qualname__} is no {wanted}: derive its _target_ from it")
    return list(created.values())


def train_stage(
    cfg: DictConfig, method_cfg: DictConfig, data: RecordSet, stage: str, init_from: str | None, run: Path, out: Path
) -> Path:
    """Train `method_cfg` on the train split; continues from the newest checkpoint of this stage, if there is one.

    Args:
        stage: `sft`, `ppo` or `aar`: names the W&B run and `checkpoints/<stage>/`.
        out: where the adapter folder goes.

    Returns:
        The adapter folder.

    Raises:
        InputError: no room on the disk for a checkpoint (the one before is kept); a metric to monitor that is none.
    """
    data = keep_fraction(cfg, data, method_cfg.get("queries", "annotated"))
    sizes = check_data(cfg, data)
    train = [r.id for r in data.records if r.split == "train"]
    planned = planned_batches(len(train), method_cfg.batch_size, method_cfg.epochs, method_cfg.steps)
    batches = min(planned, cfg.limits.batches or math.inf)
    intervals = math.ceil(batches / cfg.data.checkpoint_every)
    every = math.ceil(batches / intervals)
    trainer = build_trainer(cfg, stage, max_epochs=intervals)
    policy = partial(build_policy, cfg, init_from, device=str(trainer.strategy.root_device))
    budget = budget_of(cfg, run, trainer.strategy.root_device, stage, method_cfg)
    method = build_method(cfg, method_cfg, stage=stage, policy=policy, total_batches=every * intervals, budget=budget)
    check_sizes(budget, method, sizes, train)
    datamodule = datamodule_of(cfg, data, method.batch_size, every, method.val_samples)
    try:
        trainer.fit(method, datamodule, ckpt_path=newest_checkpoint(run / "checkpoints" / stage), weights_only=True)
    except MisconfigurationException as error:  # a checkpoint callback that monitors what nothing logs
        raise InputError(f"callbacks: {error}") from error
    except RuntimeError as error:
        if "Early stopping conditioned on metric" not in str(error):
            raise
        raise InputError(f"callbacks: {error}") from error
    save_adapter(method.policy, out, {"stage": stage, "method": type(method).__name__, "seed": cfg.seed})
    return out
