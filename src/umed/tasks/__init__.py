"""One file a task; `run` is what run.py calls."""

import errno
import logging
import re
import sys
import warnings
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_method
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from umed import config
from umed.errors import InputError


def run(cfg: DictConfig) -> None:
    """Run the chosen task; wrong input ends with one plain line and exit code 1."""
    try:
        if cfg.resume:
            cfg = config.resumed(cfg, list(HydraConfig.get().overrides.task))
        else:
            config.store(cfg, Path(cfg.paths.run_dir))
        task = get_method(cfg.task._target_)
        quiet()
        task(cfg)
    except Exception as error:
        told = plain(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        sys.exit(1)


def plain(error: BaseException | None) -> str | None:
    """The line for the user, if the error is the user's to mend; Hydra wraps what a constructor raises."""
    while error is not None:
        if isinstance(error, InputError):
            # a data loader's worker wraps what it raises in its traceback
            return re.split(r"umed\.errors\.InputError: ", str(error))[-1]
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"{error.filename or 'the run folder'}: no room on the disk: free some, then go on with resume=RUN_DIR"
            )
        if isinstance(error, MissingMandatoryValue):
            key = str(error.full_key).replace("model.processor.path", "model.path")  # where that one is taken from
            return f"{key} is not set: give it on the command line, {key}=VALUE"
        error = error.__cause__
    return None


def quiet() -> None:
    """Keep libraries' chatter off the screen: what remains is ours, and what is wrong.

    A task that has imported none of them starts sooner; Lightning sets its log level when it is imported.
    """
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(lightning|torch|transformers|peft|typing_extensions)(\.|$)")
