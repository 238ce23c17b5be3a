"""The configuration beyond yaml: resolvers, objects from config nodes, the run folder, the check of a resumed run."""

import inspect
import os
import re
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import umed
from umed.errors import InputError
from umed.names import is_training, make_folder_name, make_sweep_name

PACKAGE = Path(__file__).parent
# me:password@, ?api_key= or #token=; of what may follow a path, ?api-version=2024-06-01 alone is known to be no secret
_IN_ADDRESS = re.compile(r"://(?:[^/@\s]*@|[^\s?#]*(?:\?(?!api-version=[\w.-]*(?:\s|$))\S|#[^=\s]*=))", re.IGNORECASE)
_SECRET = re.compile(r"(?:^|[._])(?:api_?key|token|secret|password|authorization)$", re.IGNORECASE)
REQUESTS = tuple(f"{owner}.request" for owner in ("annotator", "judge", "open_judge"))
FIRST_VERSION = "0.1.0"  # wrote no version into its configs
# in a resume: how much fits where, and how many processes share the batches, changes no result
MAY_CHANGE = ("engine.tokens", "engine.features", "trainer.devices", "trainer.num_nodes", "launch")


def _in_mau(folder: str, mau: str | None, source: str | None = None) -> str | None:
    """A folder of `paths.mau`; without one null, or for a source an error."""
    if mau is None and source is not None:
        raise InputError(
            f"data.source.{source}.root is not set: give it on the command line, data.source.{source}.root=DIR, or "
            f"give paths.mau, the folder that holds {folder}/"
        )
    return None if mau is None else f"{mau}/{folder}"


def register() -> None:
    """Register the resolvers `${umed.*}`; a Hydra plugin calls it in every process that composes a config."""
    from datetime import datetime

    started = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    resolvers: dict[str, Callable[..., Any]] = {
        "umed.first": lambda *values: next((v for v in values if v is not None), None),
        "umed.epochs": lambda steps, epochs: None if steps else epochs,
        # the gradient through the attention needs the vision relevance reward, normalized by its maximum
        "umed.attention_term": lambda parts, normalize: (
            "differentiable" if "vision_relevance" in parts and normalize == "max" else "credit"
        ),
        "umed.package": lambda path: str(PACKAGE / path),
        "umed.in_mau": _in_mau,
        "umed.folder_name": make_folder_name,
        "umed.sweep_name": make_sweep_name,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
    # cached in the config, so that the jobs of a sweep share the folder of the process that started them
    OmegaConf.register_new_resolver("umed.now", lambda: started, replace=True, use_cache=True)


def create(node: Any) -> Any:
    """Instantiate a config node; what a user chose and cannot be created is told in one line.

    Raises:
        InputError: a target that does not exist, that does not take these settings, that is abstract or needs a package
            that is not installed; an error of a class that is not ours.
    """
    try:
        created = instantiate(node)
    except InstantiationException as error:
        cause, text = error.__cause__, str(error)
        target, key = re.search(r"target '([^']+)'", text), re.search(r"full_key: (\S+)", text)
        if cause is None or isinstance(cause, InputError) or target is None:
            raise
        raised_in = traceback.extract_tb(cause.__traceback__)[-1].filename
        if target[1].startswith("umed.") and "hydra" not in Path(raised_in).parts:
            raise  # a defect of ours
        reason = " ".join(str(cause).split())
        where = key[1].replace("method.rewards.", "reward.") if key else node._get_full_key("")
        raise InputError(f"{where}={target[1]}: {reason}") from error
    _check_keywords(created)
    return created


def _check_keywords(created: Any) -> None:
    """Refuse settings that what is only partly created would refuse later."""
    if isinstance(created, partial):
        try:
            inspect.signature(created.func).bind_partial(*created.args, **created.keywords)
        except TypeError as error:
            raise InputError(f"{created.func.__module__}.{created.func.__qualname__}: {error}") from None
        for value in created.keywords.values():
            _check_keywords(value)


def find_target(where: str, node: Any) -> Any:
    """The class that a config node names, which is not built yet.

    Args:
        where: the node's key, for the message.

    Raises:
        InputError: it names none, or one that does not exist.
    """
    target = node.get("_target_") if isinstance(node, Mapping) else None
    if target is None:
        raise InputError(f"{where}: no _target_: give its class")
    try:
        return resolve_name(str(target))
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{where}={target}: {' '.join(str(error).split())}") from error


def store(cfg: DictConfig, run: Path) -> None:
    """Write `.hydra/`: the config and the version, the overrides, and Hydra's own config; nothing where no Hydra runs.

    Raises:
        InputError: the folder holds a run with results, which only `resume` may continue; a URL holds a password.
    """
    _check_secrets(cfg)
    if any((run / name).exists() for name in ("checkpoints", "adapter", "predictions")):
        if is_training(cfg.task._target_):
            raise InputError(f"{run}: holds a run already: continue it with resume={run} or give a new hydra.run.dir")
        return
    if not HydraConfig.initialized():
        return
    (run / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.merge({"version": umed.__version__}, cfg), run / ".hydra" / "config.yaml")
    OmegaConf.save({"hydra": HydraConfig.get()}, run / ".hydra" / "hydra.yaml")
    OmegaConf.save(HydraConfig.get().overrides.task, run / ".hydra" / "overrides.yaml")


def _check_secrets(cfg: DictConfig) -> None:
    """Refuse secrets, which every run folder and W&B would show.

    Raises:
        InputError: a setting that is named like a secret, an address with one in it, or the key of the environment.
    """
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    leaves = [(name, str(value)) for name, value in _plain(cfg).items() if value is not None]
    for name, value in leaves:
        if _IN_ADDRESS.search(value):
            raise InputError(
                f"{name} holds a secret, which every run folder would show: set OPENAI_BASE_URL instead (of a query, "
                "only ?api-version= may stand here)"
            )
        if _SECRET.search(name) or (len(key) >= 16 and key in value):
            raise InputError(f"{name} holds a secret, which every run folder would show: set OPENAI_API_KEY instead")


def empty_requests(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config with `judge.request={}` and its like as meant: Hydra merges {}, which does nothing."""
    given = OverridesParser.create().parse_overrides(overrides)
    for place, override in enumerate(given):
        key = override.key_or_group
        if key in REQUESTS and override.value() == {}:
            OmegaConf.update(cfg, key, {}, merge=False)
            for later in given[place + 1 :]:
                if f"{later.key_or_group}.".startswith(f"{key}.") and not later.is_delete():
                    OmegaConf.update(cfg, later.key_or_group, later.value(), force_add=True)
    return cfg


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


def resume_config(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """The config to continue with: the stored one, which the overrides of now must not contradict.

    Raises:
        InputError: naming every key that differs; a sweep or another run folder together with `resume`; a run that
            another version has written.
    """
    if Path(cfg.paths.run_dir).resolve() != Path(cfg.resume).resolve():
        raise InputError(
            f"resume={cfg.resume}: it continues in its own folder, not in {cfg.paths.run_dir}: leave out -m, a sweep's "
            "experiment and hydra.run.dir"
        )
    stored = stored_config(Path(cfg.resume))
    if (written := stored.pop("version", FIRST_VERSION)) != umed.__version__:
        raise InputError(
            f"resume={cfg.resume}: written by umed {written}, this is {umed.__version__}: finish it with that version; "
            "its results and its adapter (init_from=) can be used with this one"
        )
    keys = [o.key_or_group for o in OverridesParser.create().parse_overrides(overrides)]
    changed = [key for key in keys if key.startswith(MAY_CHANGE)]
    if "trainer" in keys:  # a choice that says them too
        changed += [k for k in MAY_CHANGE if k.startswith("trainer.") and OmegaConf.select(cfg, k) is not None]
    if any(key != "resume" and key not in changed for key in keys):
        there, here = _plain(stored), _plain(cfg)
        differs = sorted(k for k in there.keys() | here.keys() if there.get(k) != here.get(k))
        if differs:
            differs = [f"{k} ({there.get(k)} there, {here.get(k)} here)" for k in differs]
            raise InputError(f"resume={cfg.resume}: this config differs from the run's own in {'; '.join(differs)}")
    for key in changed:
        OmegaConf.update(stored, key, OmegaConf.select(cfg, key), force_add=True)
    stored.resume = cfg.resume
    return stored


def keep_changes(cfg: DictConfig) -> None:
    """Write what a resume has changed into the stored config of its run, so that the next resume has it too."""
    path = Path(cfg.resume) / ".hydra" / "config.yaml"
    stored: Any = OmegaConf.load(path)
    changed = [key for key in MAY_CHANGE if OmegaConf.select(stored, key) != OmegaConf.select(cfg, key)]
    for key in changed:
        OmegaConf.update(stored, key, OmegaConf.select(cfg, key), force_add=True)
    if changed:
        part = path.with_name(f"{path.name}.part")
        OmegaConf.save(stored, part)
        part.replace(path)


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
    return {
        k: v
        for k, v in leaves.items()
        if k != "resume" and k.split(".")[0] not in ("hydra", "paths", "logger") and not k.startswith(MAY_CHANGE)
    }
