"""A training stage: method, data and trainer brought together; its result is the adapter folder."""

import math
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf

from umed import config
from umed.callbacks.checkpoints import AtomicCheckpointIO, newest_checkpoint
from umed.data.controls import check_share
from umed.engine.budget import Budget
from umed.engine.choose import budget_of, check_engine
from umed.engine.device import count_processes, create_trainer
from umed.engine.memory import release_memory
from umed.errors import InputError, check_positive
from umed.launch import launch
from umed.methods.base import BuildPolicy, Method
from umed.methods.compute import planned_batches
from umed.methods.precision import check_precision
from umed.models.adapters import adapter_folder, read_note
from umed.models.load import build_policy, save_adapter, trains_whole
from umed.orders import write_order
from umed.processes import ALONE, Processes, find_processes, join
from umed.records import RecordSet
from umed.training_data import check_data, datamodule_of, find_largest, keep_fraction


def build_method(
    cfg: DictConfig,
    method_cfg: DictConfig,
    *,
    stage: str | None = None,
    policy: BuildPolicy | None = None,
    total_batches: int = 1,
    budget: Budget | None = None,
    processes: Processes = ALONE,
) -> Method:
    """The complete method; its policy is built when training starts.

    Args:
        stage: None = the method's own name.
        policy: builds the policy, None = from the base weights of `cfg.model`.
        budget: of tokens a pass, None = no limit.
        processes: that share each batch.

    Raises:
        InputError: a setting that cannot be, or a reward that needs what the model's family cannot show.
    """
    method: Method = config.create(method_cfg)(
        policy or partial(build_policy, cfg, None),
        stage=stage,
        total_batches=total_batches,
        budget=budget,
        processes=processes,
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
    # the first process alone writes
    loggers = (
        [DummyLogger() for _ in stage_cfg.get("logger", ())] if find_processes().rank else stage_loggers(cfg, stage)
    )
    callbacks = _create_each(stage_cfg, "callbacks", L.Callback)
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

    Where the config asks for several processes, they are started, and this one waits for them.

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
    largest = find_largest(build_method(cfg, method_cfg, stage=stage), sizes, train)
    if count_processes(cfg) == (1, 1):
        fit_stage(cfg, method_cfg, data, stage, init_from, run, out, largest)
    else:
        method: Any = OmegaConf.to_container(method_cfg, resolve=True)
        settings = {"method": method, "stage": stage, "init_from": init_from, "out": str(out.resolve())}
        write_order(cfg, stage, {"train": data}, "train", {**settings, "largest": list(largest)})
        release_memory()  # the processes need it
        launch(cfg, stage)
    return out


def train_together(
    cfg: DictConfig,
    data: Mapping[str, RecordSet],
    method: Mapping[str, Any],
    stage: str,
    init_from: str | None,
    out: str,
    largest: tuple[int, str],
) -> None:
    """This process's part of a stage, as `train_stage` has prepared it."""
    method_cfg = OmegaConf.create(dict(method))
    fit_stage(cfg, method_cfg, data["train"], stage, init_from, Path(cfg.paths.run_dir), Path(out), largest)


def fit_stage(
    cfg: DictConfig,
    method_cfg: DictConfig,
    data: RecordSet,
    stage: str,
    init_from: str | None,
    run: Path,
    out: Path,
    largest: tuple[int, str],
) -> None:
    """Train a stage whose data are checked, in this process or together with others.

    Args:
        largest: see `find_largest`.

    Raises:
        InputError: see `train_stage`.
    """
    train = sum(r.split == "train" for r in data.records)
    planned = planned_batches(train, method_cfg.batch_size, method_cfg.epochs, method_cfg.steps)
    batches = min(planned, cfg.limits.batches or math.inf)
    intervals = math.ceil(batches / cfg.data.checkpoint_every)
    every = math.ceil(batches / intervals)
    trainer = build_trainer(cfg, stage, max_epochs=intervals)
    device = trainer.strategy.root_device
    processes = join(device, trainer.world_size)
    policy = partial(build_policy, cfg, init_from, device=str(device))
    budget = budget_of(cfg, run, device, stage, method_cfg, processes)
    method = build_method(
        cfg,
        method_cfg,
        stage=stage,
        policy=policy,
        total_batches=every * intervals,
        budget=budget,
        processes=processes,
    )
    budget.check(*largest)
    datamodule = datamodule_of(cfg, data, method.batch_size, every, method.val_samples, processes)
    try:
        trainer.fit(method, datamodule, ckpt_path=newest_checkpoint(run / "checkpoints" / stage), weights_only=True)
    except MisconfigurationException as error:  # a checkpoint callback that monitors what nothing logs
        raise InputError(f"callbacks: {error}") from error
    except RuntimeError as error:
        if "Early stopping conditioned on metric" not in str(error):
            raise
        raise InputError(f"callbacks: {error}") from error
    if processes.rank == 0:
        note = {"stage": stage, "method": type(method).__name__, "seed": cfg.seed, "processes": processes.count}
        started_from = read_note(adapter_folder(init_from)).get("stage") if init_from else None
        save_adapter(method.policy, out, {**note, "started_from": started_from})
