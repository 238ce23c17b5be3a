"""Train one stage: method, data and trainer brought together; the adapter folder is what comes out."""

import math
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig

from umed.callbacks.checkpoints import AtomicCheckpointIO, newest_checkpoint
from umed.data.fraction import keep_train_share
from umed.data.mau import MauDataModule
from umed.errors import InputError
from umed.models.critic import SharedCritic
from umed.models.load import build_policy, save_adapter
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


def thinned(cfg: DictConfig, data: RecordSet) -> RecordSet:
    """The data with `data.fraction` of its train records."""
    kept = keep_train_share(data.records, cfg.data.fraction, cfg.data.split.seed)
    if len(kept) < len(data.records):
        print(f"data.fraction={cfg.data.fraction}: {len(data.records) - len(kept)} train records left out")
    return replace(data, records=kept)


def build_method(cfg: DictConfig, method_cfg: DictConfig) -> Any:
    """The method, not yet with a policy.

    Raises:
        InputError: a setting, or a reward that asks for what the model's family cannot show.
    """
    method = instantiate(method_cfg)(None)
    missing = import_module(cfg.model.backbone).BACKBONE.no_attention
    if missing and "attention" in getattr(getattr(method, "rewards", None), "needs", ()):
        raise InputError(f"reward=[..., vision_relevance]: {missing}; leave it out: 'reward=[relevance,localization]'")
    return method


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
        InputError: no room on the disk for a checkpoint (the one before is kept).
    """
    method = build_method(cfg, method_cfg)
    asked = getattr(getattr(method, "credit", None), "uses_values", False)
    method.build = partial(build_policy, cfg, init_from, critic=instantiate(cfg.critic) if asked else SharedCritic)
    method.stage = stage
    data = thinned(cfg, data)
    count = sum(r.split == "train" for r in data.records)
    batches = min(method.batches(count), cfg.limits.batches or math.inf)
    intervals = math.ceil(batches / cfg.data.checkpoint_every)
    every = math.ceil(batches / intervals)
    method.total = every * intervals
    datamodule = datamodule_of(cfg, data, method.batch_size, every, method.val_samples)
    folder = run / "checkpoints" / stage
    trainer = instantiate(cfg.trainer)(
        default_root_dir=run,
        max_epochs=intervals,
        logger=[make(stage=stage, run=run) for make in instantiate(cfg.logger).values()],
        callbacks=[c(stage=stage, run=run) for c in instantiate(cfg.callbacks).values()],
        plugins=[AtomicCheckpointIO(TorchCheckpointIO())],
    )
    trainer.fit(method, datamodule, ckpt_path=newest_checkpoint(folder), weights_only=True)
    save_adapter(method.policy, out, {"stage": stage, "method": type(method).__name__, "seed": cfg.seed})
    return out
