"""What the configuration needs beyond yaml: resolvers, the run folder, and the check of a resumed run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from umed.errors import InputError

PACKAGE = Path(__file__).parent


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
        # a resumed run keeps its own .hydra/: what this call composed goes beside it
        "umed.run_dir": lambda resume, runs: f"{resume}/resumed/{started}" if resume else f"{runs}/{started}",
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def stored_config(run: Path) -> DictConfig:
    """The config that a run was started with.

    Raises:
        InputError: the folder holds no run.
    """
    path = run / ".hydra" / "config.yaml"
    if not path.is_file():
        raise InputError(f"resume={run}: no run there ({path} is missing): give a run folder")
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return config


def resumed(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config to continue with: the stored one, which what was asked for now must not contradict.

    Raises:
        InputError: naming every key that differs.
    """
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
