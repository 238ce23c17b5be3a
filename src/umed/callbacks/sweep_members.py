"""Members of a sweep: each is run by one process at a time, and one that fails is reported without ending the others.

Started again in the same `hydra.sweep.dir`, a sweep runs those again that failed or were stopped.
"""

import fcntl
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from umed.errors import InputError

RUNNING, FAILED = "running", "failed"  # files in `.hydra/` of a run folder
NEEDS = {"submitit": "submitit", "joblib": "joblib", "optuna": "optuna"}  # in the class of a plugin -> package


class Busy(InputError):
    """Another process is at work in a run folder."""


@contextmanager
def claim(run: Path) -> Iterator[None]:
    """Keep other processes out of a run folder; the system lets go of it when this process ends, however it does.

    Raises:
        Busy: another process is in it.
    """
    folder = run / ".hydra"
    if not folder.is_dir():  # no run of its own
        yield
        return
    with (folder / RUNNING).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Busy(
                f"{run}: another process is at work there: wait for it, or end it, and then start again"
            ) from None
        (folder / FAILED).unlink(missing_ok=True)
        yield


def is_member() -> bool:
    """Whether this process runs a member of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def report_member(run: Path, error: Exception, line: str | None) -> None:
    """Tell why a member has failed, at once and for the end of the sweep.

    Args:
        line: for the user; None = a defect, whose traceback is shown.
    """
    if line is None:
        traceback.print_exception(error)
        line = f"{type(error).__name__}: {error}"
    print(f"error: {run.name}: {line}", file=sys.stderr)
    if (run / ".hydra").is_dir() and not isinstance(error, Busy):
        (run / ".hydra" / FAILED).write_text(f"{line}\n", encoding="utf-8")


def read_failures(sweep: Path) -> dict[str, str]:
    """Member -> why it has failed."""
    return {
        path.parents[1].name: path.read_text(encoding="utf-8").strip() for path in sorted(sweep.glob("*/.hydra/failed"))
    }


class SweepMembers(Callback):
    """Hydra callback: refuses a launcher or sweeper that is not there, and at the end lists the members that failed.

    The exit code is 1 if all of them did.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        for part in ("launcher", "sweeper"):
            target = str(config.hydra[part].get("_target_", ""))
            if missing := [p for name, p in NEEDS.items() if f"_{name}_" in target and find_spec(p) is None]:
                _refuse(f"hydra/{part}: {missing[0]} is not installed: pip install 'umed[sweeps]'")
            if target.endswith("SlurmLauncher") and shutil.which("srun") is None:
                _refuse(
                    f"hydra/{part}: no srun here: start it where Slurm is, or use hydra/launcher=local or joblib for "
                    "one machine"
                )

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        sweep = Path(config.hydra.sweep.dir)
        if failures := read_failures(sweep):
            members = sum(1 for _ in sweep.glob("*/.hydra/config.yaml"))
            print(f"{len(failures)} of {members} members failed; the same command runs them again:", file=sys.stderr)
            for member, line in failures.items():
                print(f"  {member}: {line}", file=sys.stderr)
            if len(failures) == members:
                sys.exit(1)


def _refuse(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(1)
