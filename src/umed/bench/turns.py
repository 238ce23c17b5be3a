"""A/B/A/B: every contender in a process of its own, one after another, and all of them again."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from umed.bench.checkpoint import write_checkpoint
from umed.bench.job import MODEL, PICTURES, Job
from umed.bench.workload import draw_pictures
from umed.errors import InputError

Measured = dict[str, Any]


def prepare(job: Job) -> None:
    """Checkpoint and pictures of a shape."""
    weights = write_checkpoint(job.shape, job.folder / MODEL, job.seed)
    draw_pictures(job.shape, job.folder / PICTURES, job.shape.answers * job.total)
    tqdm.write(f"{job.folder.name}: {weights / 1e6:.1f} M parameters, {job.shape.tokens} answer tokens a step")


def take_turns(job: Job, contenders: Sequence[str], turns: int) -> dict[str, list[Measured]]:
    """What each contender measures in each of its turns."""
    measured: dict[str, list[Measured]] = {name: [] for name in contenders}
    bar = tqdm(total=turns * len(contenders), desc=job.folder.name, unit="turn", disable=None)
    for turn in range(turns):
        for name in contenders:
            bar.set_postfix_str(name)
            measured[name].append(run_process(replace(job, contender=name), f"{name}-{turn}"))
            bar.update()
    bar.close()
    return measured


def run_process(job: Job, name: str) -> Measured:
    """A job in a new process.

    Raises:
        InputError: it failed; its words are in a file.
    """
    task, out, log = (job.folder / "turns" / f"{name}.{kind}" for kind in ("job", "json", "log"))
    job.write(task)
    with log.open("w", encoding="utf-8") as f:
        command = [sys.executable, "-W", "ignore", "-m", "umed.bench.worker", str(task), str(out)]
        code = subprocess.run(command, stdout=f, stderr=subprocess.STDOUT, env=_environment(job)).returncode
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
        raise InputError(f"{job.folder.name}/{job.contender}: exit code {code}: {lines[-1]}; all of it is in {log}")
    result: Measured = json.loads(out.read_text(encoding="utf-8"))
    return result


def _environment(job: Job) -> Mapping[str, str]:
    """Nothing is asked of the network, and this package is found as it was here."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "OMP_NUM_THREADS": str(job.threads),
        "MKL_NUM_THREADS": str(job.threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(paths),
    }


def check_device(shapes: Mapping[str, Any]) -> None:
    """Raises InputError: a shape that needs a GPU where there is none."""
    if not torch.cuda.is_available() and (needing := [name for name, shape in shapes.items() if shape.gpu]):
        raise InputError(f"task.shapes={needing}: needs a GPU, and torch finds none: choose mid_cpu or long_cpu")
