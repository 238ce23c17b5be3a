"""The budget of a run: the config's, or the largest one that the free memory allows."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from omegaconf import DictConfig

from umed.engine.budget import FILE, Budget
from umed.engine.plan import GB, RESERVED
from umed.engine.planner import Planner
from umed.errors import InputError, check_positive
from umed.models.feature_store import shared_store
from umed.models.merging import check_merge
from umed.processes import ALONE, Processes

SMALL = 100 * 2**20  # bytes of a model's folder; on a CPU nothing is counted for less, which takes seconds
SMALL_TOKENS = 16_384
FEATURES = {"memory_mb", "disk_mb", "folder"}


def check_engine(cfg: DictConfig) -> None:
    """Refuse settings of `cfg.engine` that cannot be, before anything long begins.

    Raises:
        InputError: naming the setting.
    """
    check_positive("engine.tokens", cfg.engine.tokens)
    check_merge(cfg.engine.merge)
    features = cfg.engine.features
    if not isinstance(features, Mapping) or set(features) != FEATURES:
        raise InputError(f"engine.features={features}: {', '.join(sorted(FEATURES))} are needed, and nothing else")
    shared_store(**features)


def budget_of(
    cfg: DictConfig,
    run: Path,
    device: torch.device,
    stage: str,
    method: DictConfig | None = None,
    processes: Processes = ALONE,
) -> Budget:
    """The budget of a stage of a run, the same after a resume; of several processes, the first keeps the file.

    Args:
        method: that the stage trains, None = it answers only.

    Raises:
        InputError: no budget fits into the memory.
    """
    budget = Budget(cfg.engine.tokens, run / FILE, stage)
    if budget.initial is None:
        budget.initial = choose_tokens(cfg, device, method, processes.local_count)
    if processes.rank:
        budget.file = None
    budget.save()
    return budget


def choose_tokens(cfg: DictConfig, device: torch.device, method: DictConfig | None = None, processes: int = 1) -> int:
    """The most tokens with which the passes of a stage fit into the free memory, as `task=plan` counts them.

    Args:
        method: see `budget_of`.
        processes: on this machine.

    Raises:
        InputError: no number is small enough.
    """
    folder = Path(cfg.model.path)
    if device.type == "cpu" and folder.is_dir() and sum(f.stat().st_size for f in folder.iterdir()) < SMALL:
        return SMALL_TOKENS
    free = free_bytes(device) // (processes if device.type == "cpu" else 1)  # a GPU each, but one memory
    planner = Planner(cfg, gpu=device.type != "cpu")
    if method is None:
        phase = planner.evaluation(cfg.method)
    else:
        phase = planner.rewarding(method) if "num_candidates" in method else planner.tuning(method)
    tokens = phase.largest_budget(free * (1 - RESERVED))
    memory = f"{free / GB:.0f} GB that are " + ("free" if device.type != "cpu" else "half of this machine's")
    if tokens is None:
        raise InputError(
            f"{cfg.model.path} does not fit into the {memory}: take a smaller model or picture size, "
            "model.gradient_checkpointing=true, or model.quantization=4bit (python run.py task=plan model=NAME says "
            "what fits); engine.tokens=N tries nevertheless"
        )
    print(f"engine.tokens={tokens}: the most that fits into the {memory}")
    return tokens


def free_bytes(device: torch.device) -> int:
    """Memory for the run: of a GPU what is free or this process has reserved; half of the machine's for the CPU.

    A policy that is already there is counted by the planner too, so its memory is not missing.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
