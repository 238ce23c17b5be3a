"""Members of a sweep: one process a folder, failures that end no other, and plugins that are not there."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from composed import composed
from omegaconf import OmegaConf

from umed.callbacks import sweep_members
from umed.callbacks.sweep_members import Busy, SweepMembers, claim, read_failures, report_member
from umed.errors import InputError

ROOT = Path(__file__).parents[2]


def test_a_folder_has_one_process_at_a_time(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "failed").write_text("of an earlier call")
    program = (
        "import fcntl, sys, time\n"
        f"file = open({str(tmp_path / '.hydra' / 'running')!r}, 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\nprint('in', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"in\n"
        with pytest.raises(Busy, match="another process is at work there"), claim(tmp_path):
            pass
        other.kill()
    with claim(tmp_path):  # the system lets go of what was killed
        assert not (tmp_path / ".hydra" / "failed").exists()


def test_failed_members_are_listed_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "abc":
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "config.yaml").touch()
    report_member(tmp_path / "a", InputError("wrong"), "wrong")
    report_member(tmp_path / "b", ZeroDivisionError("division"), None)
    report_member(tmp_path / "c", Busy("busy"), "busy")
    assert read_failures(tmp_path) == {"a": "wrong", "b": "ZeroDivisionError: division"}
    SweepMembers().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    told = capsys.readouterr().err
    assert "2 of 3 members failed; the same command runs them again:\n  a: wrong\n  b: Zero" in told


@pytest.mark.parametrize(
    ("launcher", "missing", "line"),
    [
        ("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", ["submitit"], "pip install"),
        ("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", [], "no srun here"),
        ("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", ["joblib"], "joblib is not installed"),
    ],
)
def test_a_launcher_that_is_not_there_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], launcher: str, missing: list[str], line: str
) -> None:
    monkeypatch.setattr(sweep_members, "find_spec", lambda name: None if name in missing else "there")
    monkeypatch.setattr(sweep_members.shutil, "which", lambda name: None)
    config = OmegaConf.create({"hydra": {"launcher": {"_target_": launcher}, "sweeper": {}}})
    with pytest.raises(SystemExit):
        SweepMembers().on_multirun_start(config)
    told = capsys.readouterr().err
    assert line in told and told.count("\n") == 1


def test_wandb_searches_the_space_that_optuna_does() -> None:
    space = yaml.safe_load((ROOT / "conf/hparams_search/aar_optuna.yaml").read_text())["hydra"]["sweeper"]["params"]
    told = {}
    for name, of in yaml.safe_load((ROOT / "sweeps" / "aar.yaml").read_text())["parameters"].items():
        if "values" in of:
            told[name] = f"choice({', '.join(map(str, of['values']))})"
        else:
            interval = f"interval({of['min']:g}, {of['max']:g})"
            told[name] = f"tag(log, {interval})" if "log" in of["distribution"] else interval
    plain = {name: text.replace("1e-5", "1e-05").replace("1e-3", "0.001") for name, text in space.items()}
    assert told == plain


@pytest.mark.parametrize("name", ["slurm", "local", "joblib"])
def test_launchers_are_configs(name: str) -> None:
    config = OmegaConf.load(ROOT / "conf" / "hydra" / "launcher" / f"{name}.yaml")
    assert config._target_.startswith("hydra_plugins.hydra_")


def test_tags_of_ones_own_reach_wandb() -> None:
    assert composed("tags=[mine]").logger.wandb.tags == ["mine"]


@pytest.mark.slow
def test_submitits_local_executor_starts_members_with_every_resolver(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    command = [sys.executable, "run.py", "-m", "hydra/launcher=local", "task=prepare", "seed=0,1"]
    small = ["data.source.phantom.num_images=6", f"hydra.sweep.dir={tmp_path / 's'}", f"paths.data={tmp_path / 'data'}"]
    done = subprocess.run([*command, *small], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list((tmp_path / "s").glob("*/records.jsonl"))) == 2
