"""The configuration as a command composes it; where commands differ in values alone, Hydra reads its files once."""

import copy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parents[1] / "conf"


@cache
def _of_choices(*choices: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(choices))


def composed(*overrides: str) -> DictConfig:
    """Sweeps and Hydra's own overrides are not for it; where keys are added or deleted, Hydra does it all."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [o for o in parsed if not (CONF / o.key_or_group).is_dir()]
    if any(o.type is not OverrideType.CHANGE for o in values):
        values = []
    cfg = copy.deepcopy(_of_choices(*(o.input_line for o in parsed if o not in values)))
    for override in values:
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    return cfg
