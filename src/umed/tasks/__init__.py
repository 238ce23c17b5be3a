"""One file a task; `run` is what run.py calls."""

import errno
import json
import logging
import math
import os
import re
import sys
import warnings
from contextlib import nullcontext
from difflib import get_close_matches
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_method
from omegaconf import DictConfig
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

from umed import config
from umed.callbacks.sweep_members import claim, is_member, report_member
from umed.errors import InputError
from umed.names import is_training
from umed.paper_data import use_mau
from umed.sweeps import is_done, is_started_member, mark_done


def run(cfg: DictConfig) -> float | None:
    """Run the chosen task; wrong input ends with one plain line and exit code 1.

    Returns:
        The metric named by `optimized_metric`, for a sweeper; None where it is null; NaN for a member of a sweep that
        has failed, which does not end the others.
    """
    if os.getcwd() not in sys.path:  # rewards, benchmarks and callbacks in a user's files
        sys.path.append(os.getcwd())
    try:
        overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
        _refuse_copies()
        cfg = use_mau(config.empty_requests(cfg, overrides), overrides)
        run_dir = Path(cfg.paths.run_dir)
        was_started = is_started_member(cfg)
        if was_started:
            cfg.resume = str(run_dir)
        if cfg.resume:
            cfg = resume(cfg, overrides)
        else:
            config.store(cfg, run_dir)
        if was_started and is_done(run_dir):
            print(f"{run_dir}: done before, nothing is computed again")
        else:
            task = get_method(cfg.task._target_)
            quiet()
            with claim(run_dir) if is_training(cfg.task._target_) else nullcontext():
                task(cfg)
            mark_done(run_dir)
        return metric(run_dir, cfg.optimized_metric)
    except Exception as error:
        line = plain(error)
        if is_member():
            report_member(Path(cfg.paths.run_dir), error, line)
            if cfg.optimized_metric is not None:
                raise  # a sweeper counts it as a trial without a value
            return math.nan
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)


def _refuse_copies() -> None:
    """Raises InputError: torchrun or srun has started this program several times, which each would make a run."""
    if any(os.environ.get(name, "0") not in ("", "0") for name in ("RANK", "SLURM_PROCID")):
        raise InputError(
            "run.py was started several times, by torchrun or srun: start it once, with trainer=ddp; it starts the "
            "processes of each stage itself, with launch='srun python' on several machines (docs/training.md)"
        )


def resume(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config to continue with; what may change is checked before it is kept."""
    from umed.engine.choose import check_engine  # imports torch

    cfg = config.resume_config(cfg, overrides)
    if "engine" in cfg:  # not in configs of old runs
        check_engine(cfg)
    config.keep_changes(cfg)
    return cfg


def metric(run: Path, name: str | None) -> float | None:
    """A number of the run's `metrics.json`; None for none.

    Raises:
        InputError: there is no number of this name.
    """
    if name is None:
        return None
    path = run / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if name not in metrics:
        near = get_close_matches(name, metrics, n=3, cutoff=0.0)
        known = f"{path} has {len(metrics)} others, such as {', '.join(near)}" if near else f"{path} has none"
        raise InputError(f"optimized_metric={name}: no such number: {known}")
    return float(metrics[name])


def plain(error: BaseException | None) -> str | None:
    """The line for the user, if the user can correct the error; Hydra wraps what a constructor raises."""
    while error is not None:
        if isinstance(error, InputError):
            # a data loader's worker wraps what it raises in its traceback
            return re.split(r"umed\.errors\.InputError: ", str(error))[-1]
        if "torch" in sys.modules and _is_out_of_memory(error):
            return (
                "out of memory: set engine.tokens lower, or take a smaller model or picture size (task=plan says what "
                "fits); resume=RUN_DIR continues"
            )
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"{error.filename or 'the run folder'}: no room on the disk: free some, then go on with resume=RUN_DIR"
            )
        if isinstance(error, MissingMandatoryValue):
            key = str(error.full_key).replace("model.processor.path", "model.path")  # where that one is taken from
            return f"{key} is not set: give it on the command line, {key}=VALUE"
        # OmegaConf raises anew what a resolver raised
        error = error.__cause__ or (error.__context__ if isinstance(error, InterpolationResolutionError) else None)
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    from umed.engine.memory import is_out_of_memory  # imports torch

    return is_out_of_memory(error)


def quiet() -> None:
    """Silence third-party loggers and warnings, without importing them."""
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
    for name in ("lightning.pytorch", "lightning.fabric", "pydicom"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(lightning|torch|transformers|peft|pydicom|typing_extensions)(\.|$)")
