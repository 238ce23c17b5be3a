"""`python -m umed.bench.worker JOB OUT`: one job in its own process, which inherits nothing of another contender."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from umed import config
from umed.bench.contenders import CONTENDERS
from umed.bench.job import Job
from umed.bench.parity import measure_parity
from umed.errors import InputError
from umed.run_files import write_whole

PARITY = "parity"  # instead of a contender's name: the gate


def run_job(job: Job) -> dict[str, Any]:
    """What the job's contender measures."""
    torch.set_num_threads(job.threads)
    return measure_parity(job) if job.contender == PARITY else CONTENDERS[job.contender].measure(job)


def main(job: str, out: str) -> None:
    config.register()
    try:
        write_whole(Path(out), json.dumps(run_job(Job.read(Path(job)))))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
