"""`tasks.run` gives a sweeper its number, and configs resolve where a launcher starts a fresh interpreter."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from composed import CONF, composed
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import umed
from umed import tasks
from umed.errors import InputError

FRESH = """
import pickle, sys
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins

stored, conf = sys.argv[1:]
Plugins.instance()  # what Hydra does in the process that a launcher starts
cfg = pickle.load(open(stored, "rb"))
print(cfg.model.path)
print(cfg.hydra.run.dir)
with initialize_config_dir(conf, version_base="1.3"):
    print(compose("config", overrides=["seed=4"]).task.sft.epochs)
assert "run" not in sys.modules and "torch" not in sys.modules
"""


def test_resolvers_work_in_a_fresh_interpreter(tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", return_hydra_config=True)
    OmegaConf.set_readonly(cfg, False)
    where = cfg.hydra.run.dir  # named by the time of the start: the same in every job
    (tmp_path / "cfg").write_bytes(pickle.dumps(cfg))
    command = [sys.executable, "-c", FRESH, str(tmp_path / "cfg"), str(CONF)]
    installed = {**os.environ, "PYTHONPATH": str(Path(umed.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=installed)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [cfg.model.path, where, "None"]


def test_a_task_returns_the_metric_that_a_sweeper_optimizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def score(cfg: object) -> None:
        (tmp_path / "metrics.json").write_text(json.dumps({"aar/mau/iou/avg": 0.5, "aar/mau/accuracy/avg": 1}))

    monkeypatch.setattr(tasks, "get_method", lambda _: score)
    cfg = composed("task=score", f"paths.run_dir={tmp_path}")
    assert tasks.run(cfg) is None
    cfg.optimized_metric = "aar/mau/accuracy/avg"
    assert tasks.run(cfg) == 1.0
    cfg.optimized_metric = "aar/mau/iou"
    with pytest.raises(SystemExit):
        tasks.run(cfg)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "optimized_metric=aar/mau/iou" in line and "aar/mau/iou/avg" in line
    with pytest.raises(InputError, match="has none"):
        tasks.metric(tmp_path / "elsewhere", "a")
