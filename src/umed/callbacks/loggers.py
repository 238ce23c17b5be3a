"""W&B, offline unless the environment says otherwise, and a CSV that a resume continues."""

import csv
import os
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import wandb
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

SECRET = re.compile(r"key|token|secret|passw|credential|auth|oc\.env", re.IGNORECASE)
TAGS = ("task", "model", "method", "credit", "judge")


class StageWandb(WandbLogger):
    """One W&B run a stage, of one group a run folder, in `<run>/wandb/`; a resume keeps its id.

    Nothing is sent: WANDB_MODE=online and WANDB_API_KEY in the environment change that. What W&B would record by itself
    (command line, console, code) is off, since it can hold secrets.

    Args:
        stage: names the W&B run.
        run_dir: the run folder.
        kwargs: of `WandbLogger`.
    """

    def __init__(self, stage: str, run_dir: str | Path, **kwargs: Any) -> None:
        run = Path(run_dir)
        for name, value in {"MODE": "offline", "SILENT": "true", "ERROR_REPORTING": "false"}.items():
            os.environ.setdefault(f"WANDB_{name}", value)
        os.environ["WANDB_DATA_DIR"] = str(run.resolve() / "wandb")  # else pictures of tables lie in the home folder
        super().__init__(
            name=stage,
            job_type=stage,
            group=run.name,
            tags=choices(run),
            config=public(_config(run)),
            save_dir=run,
            id=_kept_id(run / "logs" / stage / "wandb_id"),
            settings=wandb.Settings(console="off", disable_code=True, disable_git=True, x_disable_meta=True),
            **kwargs,
        )
        del self._wandb_init["anonymous"]  # wandb warns of it, and Lightning always gives it

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the W&B run, so that the next stage gets its own."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(status == "failed"))


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
