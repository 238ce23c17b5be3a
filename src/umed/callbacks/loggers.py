"""W&B, offline unless the environment says otherwise, and a CSV that a resume continues."""

import csv
import os
import re
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any
from uuid import uuid4

import wandb
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from umed.errors import InputError
from umed.names import shorten

SECRET = re.compile(r"key|token|secret|passw|credential|auth|oc\.env", re.IGNORECASE)
TAGS = ("task", "model", "method", "credit", "judge")


class StageWandb(WandbLogger):
    """One W&B run a stage with its evaluation, of one group a run folder, in `<run>/wandb/`; a resume keeps its id.

    Nothing is sent: WANDB_MODE=online and WANDB_API_KEY in the environment change that. What W&B would record by itself
    (command line, console, code) is off, since it can hold secrets.

    Args:
        stage: names the W&B run.
        run_dir: the run folder.
        project: the W&B project.
        tags: besides the choices of the run.
        kwargs: of `WandbLogger`, and of `wandb.init`.

    Raises:
        InputError: a name or setting, here or in the environment, that W&B does not take; no API key to send runs with.
    """

    def __init__(
        self, stage: str, run_dir: str | Path, project: Any, tags: str | Sequence[str] = (), **kwargs: Any
    ) -> None:
        run = Path(run_dir)
        of_agent = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        for name, value in {"MODE": "offline", "SILENT": "true", "ERROR_REPORTING": "false"}.items():
            os.environ.setdefault(f"WANDB_{name}", value)
        os.environ["WANDB_DATA_DIR"] = str(run.resolve() / "wandb")  # else pictures of tables lie in the home folder
        ours = {
            "name": stage,
            "job_type": stage,
            "group": shorten(run.name),
            "config": public(_config(run)),
            "save_dir": run,
            "id": of_agent or _kept_id(run / "logs" / stage / "wandb_id"),
            "settings": wandb.Settings(console="off", disable_code=True, disable_git=True, x_disable_meta=True),
        }
        further = [tags] if isinstance(tags, str) else list(tags)
        all_tags = list(dict.fromkeys([*(shorten(tag, 64) for tag in choices(run)), *further]))
        super().__init__(**{**ours, "project": _check_project(project), "tags": all_tags, **kwargs})
        del self._wandb_init["anonymous"]  # wandb warns of it, and Lightning always gives it
        check_wandb(self._wandb_init)

    @property
    def experiment(self) -> Any:
        """The W&B run, which goes on where it is open. Raises InputError: W&B refuses it, or cannot be reached."""
        try:
            if self._experiment is None and wandb.run is not None:
                if wandb.run.id == self.version:
                    self._experiment = wandb.run
                else:  # of the stage before
                    wandb.run.finish()
            return super().experiment
        except wandb.errors.Error as error:
            raise InputError(f"W&B: {error}: correct it, or keep the run offline with WANDB_MODE=offline") from error

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Leave the W&B run open for the evaluation of the stage; end it where the stage has failed."""
        super().finalize(status)
        if self._experiment is not None and status != "success":
            self._experiment.finish(exit_code=1)


def check_wandb(init: Mapping[str, Any]) -> None:
    """Refuse what `wandb.init` would refuse once everything is prepared.

    Args:
        init: its arguments.

    Raises:
        InputError: naming the setting.
    """
    settings = wandb.Settings()
    try:
        settings.update_from_env_vars(dict(os.environ))
    except (wandb.errors.Error, ValidationError, ValueError) as error:
        raise InputError(f"environment, WANDB_*: {_reason(error)}: correct or unset it") from error
    names = {"project": "project", "group": "run_group", "tags": "run_tags", "job_type": "run_job_type", "id": "run_id"}
    given: dict[str, Any] = {setting: init.get(name) for name, setting in names.items()}
    try:
        signature(wandb.init).bind(**init)
        wandb.Settings(**given)
    except (wandb.errors.Error, ValidationError, TypeError) as error:
        raise InputError(
            f"logger.wandb: {_reason(error)}: correct it (the project is name=...) or use logger=csv"
        ) from error
    if settings.mode in ("online", "run") and wandb.run is None and not wandb.login(prompt=False, verify=False):
        raise InputError("WANDB_MODE=online: no API key: set WANDB_API_KEY, or leave out WANDB_MODE to stay offline")


def _check_project(project: Any) -> str:
    name = "" if project is None else str(project).strip()
    if not name.strip(".") or not name.isprintable():
        raise InputError(f"name={name!r}: W&B needs a project with a name: give another, name=...")
    return name


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


class AppendingCSVLogger(CSVLogger):
    """A CSV logger whose file a resume continues."""

    @property
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = AppendingWriter(self.log_dir)
        return self._experiment


class AppendingWriter(ExperimentWriter):
    """Appends to the rows of an earlier call; Lightning's own deletes them."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        text = path.read_text()
        whole = text[: text.rfind("\n") + 1]  # a kill can cut the last row
        path.write_text(whole)
        self.metrics_keys = next(csv.reader(whole.splitlines()), [])


def public(config: DictConfig) -> dict[str, Any]:
    """The config without secrets, its interpolations resolved where that needs neither a secret nor a running Hydra.

    Removed are every entry whose name speaks of a key, token, secret or password (a count of tokens stays), and the
    user and password of a URL.
    """

    def shown(raw: Any, name: str) -> Any:
        if isinstance(raw, dict):
            return {k: shown(v, f"{name}.{k}" if name else str(k)) for k, v in raw.items() if not _is_secret(str(k), v)}
        if isinstance(raw, list):
            return [shown(v, f"{name}[{i}]") for i, v in enumerate(raw)]
        value = _resolved(config, name, raw) if isinstance(raw, str) and "${" in raw else raw
        return re.sub(r"//[^/@\s]+@", "//", value) if isinstance(value, str) else value

    return shown(OmegaConf.to_container(config, resolve=False), "")


def _is_secret(name: str, value: Any) -> bool:
    counts = name.endswith("tokens") and (isinstance(value, int) or str(value).startswith("${"))
    return bool(SECRET.search(name)) and not counts


def _resolved(config: DictConfig, name: str, raw: str) -> Any:
    if SECRET.search(raw.replace("tokens", "")):
        return raw
    try:
        value = OmegaConf.select(config, name)
    except OmegaConfBaseException:
        return raw
    return raw if OmegaConf.is_config(value) else value


def _config(run: Path) -> DictConfig:
    path = run / ".hydra" / "config.yaml"
    config = OmegaConf.load(path) if path.is_file() else OmegaConf.create()
    assert isinstance(config, DictConfig)
    return config


def choices(run: Path) -> list[str]:
    """The choices of config groups that the run was started with, as tags."""
    path = run / ".hydra" / "hydra.yaml"
    if not path.is_file():
        return []
    chosen, config = OmegaConf.load(path).hydra.runtime.choices, _config(run)
    tags = [f"{group}={chosen[group]}" for group in TAGS if chosen.get(group)]
    several = {"source": config.data.source, "reward": config.reward.parts}  # Hydra keeps no choice of these
    return [*tags, *(f"{group}={name}" for group, names in several.items() for name in names)]


def _kept_id(path: Path) -> str:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid4().hex[:8])
    return path.read_text()
