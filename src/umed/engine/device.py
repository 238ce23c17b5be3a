"""Where a task computes, and how precisely: the one reading of `cfg.trainer`, for training and for answering alike."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig, OmegaConf

from umed import config
from umed.errors import InputError
from umed.models.adapters import read_note
from umed.models.critics.base import Critic
from umed.models.critics.shared import SharedCritic
from umed.models.load import build_policy
from umed.models.policy import Policy

if TYPE_CHECKING:  # importing it takes seconds, which `task=predict` on a CPU does without
    import lightning as L
    from lightning.pytorch.plugins import Precision

# what decides where something is computed, and how
CHOICES = ("accelerator", "devices", "num_nodes", "strategy", "precision", "deterministic", "benchmark")
DEFAULT = {"accelerator": "auto", "devices": 1, "precision": "32-true"}
QUIET = {name: False for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")}


@dataclass(frozen=True)
class Placement:
    """A device, and the precision of what is computed there.

    Args:
        plugin: Lightning's, None = as the weights are.
    """

    device: torch.device
    plugin: Precision | None = None

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the trainer calls a training step."""
        return self.plugin.forward_context() if self.plugin else nullcontext()


def create_trainer(trainer: Callable[..., L.Trainer], **settings: Any) -> L.Trainer:
    """Lightning's trainer, whose strategy has the device and whose plugin has the precision.

    Raises:
        InputError: an accelerator or devices that this machine lacks, or a setting that cannot be.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch.plugins import DoublePrecision, HalfPrecision, MixedPrecision

    from umed.engine.data_parallel import Ranks

    try:
        if _count_processes(trainer) > 1:
            settings["strategy"] = _share_batches(trainer)
        else:
            settings["plugins"] = [*settings.get("plugins", ()), Ranks()]
        created = trainer(**settings)
        plugin, device = created.precision_plugin, created.strategy.root_device
    except (MisconfigurationException, ImportError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"trainer: {' '.join(str(error).split()).rstrip('.')}: set trainer.accelerator, trainer.devices and "
            "trainer.precision to what is there"
        ) from error
    if isinstance(plugin, HalfPrecision | DoublePrecision):
        raise InputError(
            "trainer.precision=16-true, bf16-true or 64-true: weights keep model.dtype; set that one, or use "
            "trainer.precision=bf16-mixed"
        )
    if isinstance(plugin, MixedPrecision):
        plugin.device = device.type  # Lightning takes every accelerator but the CPU and MPS for CUDA
    return created


def count_processes(cfg: DictConfig) -> tuple[int, int]:
    """How many processes train on each machine, and how many machines.

    Raises:
        InputError: see `create_trainer`.
    """
    node = cfg.get("trainer")
    if node is None or _is_one(node):
        return 1, 1
    created = _create_bare(node)
    return created.num_devices, created.num_nodes


def _is_one(chosen: Mapping[str, Any]) -> bool:
    return chosen.get("devices", 1) == 1 and (chosen.get("num_nodes") or 1) == 1


def _count_processes(trainer: Any) -> int:
    """Of a trainer that is only partly created."""
    from umed.engine.data_parallel import Ranks

    chosen = {name: trainer.keywords[name] for name in CHOICES[:3] if name in trainer.keywords}
    return 1 if _is_one(chosen) else trainer.func(**chosen, **QUIET, plugins=[Ranks()]).world_size


def _share_batches(trainer: Any) -> Any:
    """The strategy of several processes. Raises InputError: another one is chosen."""
    from umed.engine.data_parallel import DataParallel

    if trainer.keywords.get("strategy") not in (None, "auto"):
        raise InputError(
            f"trainer.strategy={trainer.keywords['strategy']} with several processes: leave it out, batches are shared "
            "out whatever it says"
        )
    return DataParallel()


def find_placement(cfg: DictConfig) -> Placement:
    """The device and precision that training with this config has.

    Raises:
        InputError: see `create_trainer`.
    """
    node = cfg.get("trainer") or OmegaConf.create({"_target_": "lightning.Trainer", "_partial_": True, **DEFAULT})
    if _is_plain_cpu(node):
        return Placement(torch.device("cpu"))
    created = _create_bare(node)
    return Placement(created.strategy.root_device, created.precision_plugin)


def _create_bare(node: Any) -> L.Trainer:
    """A trainer that only says where and how precisely it would compute."""
    trainer: Any = config.create(node)
    chosen = {name: value for name, value in trainer.keywords.items() if name in CHOICES}
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with warnings.catch_warnings():  # a trainer that trains tells what it found
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            return create_trainer(partial(trainer.func, **chosen), **QUIET)
        finally:
            logger.setLevel(level)


def _is_plain_cpu(node: Mapping[str, Any]) -> bool:
    """Whether the settings say CPU and nothing else, which needs no Lightning to tell."""
    chosen = DEFAULT | {name: node[name] for name in CHOICES if name in node}
    on_cpu = chosen["accelerator"] == "cpu" or (
        chosen["accelerator"] == "auto" and not torch.accelerator.is_available()
    )
    return on_cpu and {**chosen, "accelerator": "auto"} == DEFAULT


def build_to_answer(
    cfg: DictConfig, init_from: str | None, critic: Callable[..., Critic] = SharedCritic
) -> tuple[Policy, Placement]:
    """The policy of `cfg.model` in evaluation mode, on the device that training would have, and its placement.

    Raises:
        InputError: see `create_trainer` and `load_policy`.
    """
    placement = find_placement(cfg)
    return build_policy(cfg, init_from, 0.0, str(placement.device), critic).eval(), placement


def find_critic(cfg: DictConfig, adapter: Path | None) -> Callable[..., Critic]:
    """The critic that an adapter was trained with: that of the config, or the shared one where it used no other."""
    trained_with = read_note(adapter).get("critic") if adapter else None
    node = cfg.get("critic")
    if node is None or config.find_target("critic", node).__name__ != trained_with:
        return SharedCritic
    return config.create(node)
