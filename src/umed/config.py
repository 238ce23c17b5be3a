"""What the configuration needs beyond yaml: resolvers, the run folder, and the check of a resumed run."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from umed.errors import InputError

PACKAGE = Path(__file__).parent
_IN_ADDRESS = re.compile(r"://(?:[^/@\s]*@|\S*[?&][^=\s]*=)")  # me:password@ or ?api_key=
_SECRET = re.compile(r"(?:^|[._])(?:api_?key|token|secret|password|authorization)$", re.IGNORECASE)
TRAINING = ("pipeline", "train", "pretrain")


def _first(*values: Any) -> Any:
    return next((v for v in values if v is not None), None)


def register() -> None:
    """Make `${umed.*}` known; called before a config is composed."""
    from datetime import datetime

    started = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    resolvers: dict[str, Callable[..., Any]] = {
        "umed.first": _first,
        "umed.epochs": lambda steps, epochs: None if steps else epochs,
        "umed.package": lambda path: str(PACKAGE / path),
        "umed.now": lambda: started,
        # of one folder that `resume=` can name without quotes, whatever was swept
        "umed.as_name": lambda text: re.sub(r"[^\w.]+", "-", text).strip("-"),
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def store(cfg: DictConfig, run: Path) -> None:
    """Write `.hydra/`: the config, what was overridden, and Hydra's own; nothing where no Hydra runs.

    Raises:
        InputError: the folder holds a run with results, which only `resume` may continue; a URL holds a password.
    """
    _check_secrets(cfg)
    if any((run / name).exists() for name in ("checkpoints", "adapter", "predictions")):
        if cfg.task._target_.rsplit(".", 1)[-1] in TRAINING:
            raise InputError(f"{run}: holds a run already: continue it with resume={run} or give a new hydra.run.dir")
        return
    if not HydraConfig.initialized():
        return
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, run / ".hydra" / "config.yaml")
    OmegaConf.save({"hydra": HydraConfig.get()}, run / ".hydra" / "hydra.yaml")
    OmegaConf.save(HydraConfig.get().overrides.task, run / ".hydra" / "overrides.yaml")


def _check_secrets(cfg: DictConfig) -> None:
    """Refuse what every run folder and W&B would show.

    Raises:
        InputError: a setting that is named like a secret, an address with one in it, or the key of the environment.
    """
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    leaves = [(name, str(value)) for name, value in _plain(cfg).items() if value is not None]
    for name, value in leaves:
        if _IN_ADDRESS.search(value):
            raise InputError(f"{name} holds a secret, which every run folder would show: set OPENAI_BASE_URL instead")
        if _SECRET.search(name) or (len(key) >= 16 and key in value):
            raise InputError(f"{name} holds a secret, which every run folder would show: set OPENAI_API_KEY instead")


def stored_config(run: Path) -> DictConfig:
    """The config that a run was started with.

    Raises:
        InputError: the folder holds no run.
    """
    path = run / ".hydra" / "config.yaml"
    if not path.is_file():
        with suppress(OSError):  # Hydra makes the folder it is given; one that holds something stays
            run.rmdir()
        raise InputError(f"resume={run}: no run there ({path} is missing): give a run folder")
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return config


def resumed(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config to continue with: the stored one, which what was asked for now must not contradict.

    Raises:
        InputError: naming every key that differs; or a sweep or another run folder together with `resume`.
    """
    if Path(cfg.paths.run_dir).resolve() != Path(cfg.resume).resolve():
        raise InputError(
            f"resume={cfg.resume}: it continues in its own folder, not in {cfg.paths.run_dir}: leave out -m, a sweep's "
            "experiment and hydra.run.dir"
        )
    stored = stored_config(Path(cfg.resume))
    if [o for o in overrides if not o.startswith("resume=")]:
        differs = sorted(_differences(_plain(stored), _plain(cfg)))
        if differs:
            raise InputError(f"resume={cfg.resume}: this config differs from the run's own in {'; '.join(differs)}")
    stored.resume = cfg.resume
    return stored


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """Unresolved leaves by dotted name, without what may change between two calls."""
    leaves: dict[str, Any] = {}

    def walk(node: Any, name: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(value, f"{name}.{key}" if name else str(key))
        else:
            leaves[name] = node

    walk(OmegaConf.to_container(cfg, resolve=False), "")
    return {k: v for k, v in leaves.items() if k != "resume" and k.split(".")[0] not in ("hydra", "paths", "logger")}


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [
        f"{k} ({there.get(k)} there, {here.get(k)} here)"
        for k in there.keys() | here.keys()
        if there.get(k) != here.get(k)
    ]
