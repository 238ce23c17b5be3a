"""The whole command with two processes: the results of one, a kill that is told in one line, and a resume with one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
SMALL = [
    "task=train", "method=sft", "trainer.accelerator=cpu", "seed=0", "logger=csv", "data.source.phantom.num_images=30",
    "data/benchmark=[]", "data.evaluate.sanity=[]", "data.evaluate.leaks=false", "limits.eval_samples=4",
    "method.val_samples=4", "method.batch_size=4", "method.lr=1e-4", "limits.batches=6", "data.checkpoint_every=2",
]  # fmt: skip


def start(run: Path, *overrides: str) -> subprocess.Popen[str]:
    data = f"paths.data={run.parent / 'data'}"
    command = [sys.executable, "run.py", *overrides, f"hydra.run.dir={run}", data]
    return run_here(command)


def run_here(command: list[str]) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, **pipes)


def finish(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=1800)
    assert process.returncode == 0, (out + error)[-3000:]
    return out


def same(run: Path, expected: Path) -> None:
    here, there = (json.loads((r / "metrics.json").read_text()) for r in (run, expected))
    assert here == pytest.approx(there, rel=1e-6, abs=1e-6)
    weights, of_one = (load_file(r / "adapter" / "adapter_model.safetensors") for r in (run, expected))
    assert all((weights[name] - of_one[name]).abs().max() < 1e-6 for name in of_one)


@pytest.mark.slow
def test_two_processes_and_a_kill_give_what_one_gives(tmp_path: Path) -> None:
    finish(start(tmp_path / "one", *SMALL))
    two = ["trainer=ddp", "trainer.devices=2", *SMALL]
    finish(start(tmp_path / "two", *two))
    same(tmp_path / "two", tmp_path / "one")
    assert json.loads((tmp_path / "two" / "adapter" / "umed.json").read_text())["processes"] == 2

    run = tmp_path / "killed"
    process = start(run, *two)
    until = time.monotonic() + 1200
    while not list(run.glob("checkpoints/sft/*.ckpt")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    workers = subprocess.run(
        ["pgrep", "-f", f"umed.worker {run}"], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    began = time.monotonic()
    _, error = process.communicate(timeout=300)
    assert process.returncode == 1 and time.monotonic() - began < 60
    assert error.splitlines()[-1].startswith("error: sft: process") and "resume=RUN_DIR continues" in error
    assert "Traceback" not in error
    assert not (run / "adapter" / "umed.json").exists()
    finish(run_here([sys.executable, "run.py", f"resume={run}", "trainer.devices=1"]))
    same(run, tmp_path / "one")
    assert json.loads((run / "adapter" / "umed.json").read_text())["processes"] == 1
