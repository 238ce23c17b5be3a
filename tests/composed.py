"""The configuration as a command composes it, by Hydra's own code; the same choices of groups are composed once."""

import pickle
from functools import cache
from pathlib import Path
from unittest.mock import patch

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig

CONF = Path(__file__).parents[1] / "conf"
Plugins.instance()  # registers the source of files
FILES = SourcesRegistry.instance().resolve("file")
_load = FILES.load_config
_loaded: dict[tuple[str, str], bytes] = {}


def _load_once(source: ConfigSource, config_path: str) -> ConfigResult:
    """Hydra parses every yaml anew for each composition, which is a quarter of its time."""
    key = source.path, config_path
    if key not in _loaded:
        _loaded[key] = pickle.dumps(_load(source, config_path))
    return pickle.loads(_loaded[key])


@cache
def _of_choices(*choices: str) -> bytes:
    """Pickled: reading that again takes a sixth of the time of a deep copy."""
    with initialize_config_dir(str(CONF), version_base="1.3"), patch.object(FILES, "load_config", _load_once):
        return pickle.dumps(compose("config", overrides=list(choices)))


def composed(*overrides: str) -> DictConfig:
    """Sweeps and Hydra's own overrides are not for it."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    choices = [o.input_line for o in parsed if (CONF / o.key_or_group).is_dir()]
    cfg = pickle.loads(_of_choices(*choices))
    ConfigLoaderImpl._apply_overrides_to_config([o for o in parsed if o.input_line not in choices], cfg)
    return cfg
