"""One file a task; `run` is what run.py calls."""

import sys

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import get_method
from omegaconf import DictConfig

from umed import config
from umed.errors import InputError


def run(cfg: DictConfig) -> None:
    """Run the chosen task; wrong input ends with one plain line and exit code 1."""
    try:
        if cfg.resume:
            cfg = config.resumed(cfg, list(HydraConfig.get().overrides.task))
        get_method(cfg.task._target_)(cfg)
    except (InputError, HydraException) as error:
        cause = error if isinstance(error, InputError) else error.__cause__
        if not isinstance(cause, InputError):
            raise
        print(f"error: {cause}", file=sys.stderr)
        sys.exit(1)
