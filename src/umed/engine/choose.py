"""The budget of a run: the config's, or the largest one that the free memory allows."""

import os
from pathlib import Path

import torch
from omegaconf import DictConfig

from umed.engine.budget import FILE, Budget
from umed.engine.plan import GB, RESERVED
from umed.engine.planner import Planner
from umed.errors import InputError

SMALL = 100 * 2**20  # bytes of weight files; on a CPU nothing is counted for less, which takes seconds
SMALL_TOKENS = 16_384


def budget_of(cfg: DictConfig, run: Path, device: torch.device) -> Budget:
    """The budget of a run folder, the same in all its stages and after a resume.

    Raises:
        InputError: no budget fits into the memory.
    """
    budget = Budget(cfg.engine.tokens, run / FILE)
    if budget.asked is None:
        budget.asked = choose_tokens(cfg, device)
    budget.save()
    return budget


def choose_tokens(cfg: DictConfig, device: torch.device) -> int:
    """The most tokens with which every stage of the config fits into the free memory, as `task=plan` counts it.

    Raises:
        InputError: no number is small enough.
    """
    folder = Path(cfg.model.path)
    if device.type == "cpu" and sum(f.stat().st_size for f in folder.glob("*.safetensors")) < SMALL and folder.is_dir():
        return SMALL_TOKENS
    free = free_bytes(device)
    planner = Planner(cfg, gpu=device.type != "cpu")
    methods = [cfg.method, *([cfg.task.sft] if "sft" in cfg.task else [])]
    phases = [planner.rewarding(m) if "num_candidates" in m else planner.tuning(m) for m in methods]
    phases.append(planner.evaluation(cfg.method))
    budgets = [phase.largest_budget(free * (1 - RESERVED)) for phase in phases]
    fitting = [tokens for tokens in budgets if tokens is not None]
    if len(fitting) < len(budgets):
        raise InputError(
            f"{cfg.model.path} does not fit into the {free / GB:.0f} GB that are free: take a smaller model or picture "
            "size, model.gradient_checkpointing=true, or model.quantization=4bit (python run.py task=plan model=NAME "
            "says what fits); engine.tokens=N tries nevertheless"
        )
    tokens = min(fitting)
    print(f"engine.tokens={tokens}: the most that fits into the {free / GB:.0f} GB that are free")
    return tokens


def free_bytes(device: torch.device) -> int:
    """Free memory of a GPU; half of the machine's for the CPU, where other programs live too."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
