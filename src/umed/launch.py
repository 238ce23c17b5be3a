"""Start the processes of a stage, and end them all when one of them ends."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import IO

from omegaconf import DictConfig

from umed.engine.device import count_processes
from umed.errors import InputError

MODULE = "umed.worker"
LOOK, GRACE = 0.2, 10.0  # seconds between two looks at the processes, and until one that was asked to end is killed
LOST = 75  # exit code of a process to which another one was lost
MISSED = 30.0  # seconds for which the one that was lost may go on, before it counts as stuck
PARENT, REPORTS = "UMED_PARENT", "UMED_REPORTS"  # of a process's environment: who started it, where it tells errors


def launch(cfg: DictConfig, stage: str) -> None:
    """Have the processes of the config do what `umed.orders.write_order` has written; returns when all are done.

    Raises:
        InputError: one of them has ended with an error, which is told; the others were ended then.
    """
    here, nodes = count_processes(cfg)
    run = Path(cfg.paths.run_dir).resolve()
    if command := cfg.get("launch"):
        _run_command([*str(command).split(), "-m", MODULE, str(run), stage], stage)
    elif nodes > 1:
        raise InputError(
            f"{stage}: prepared for {nodes} machines with {here} processes each: under Slurm set launch='srun python' "
            f"(docs/training.md); else run on each machine torchrun --nnodes={nodes} --nproc-per-node={here} "
            f"--rdzv-backend=c10d --rdzv-endpoint=HOST:29500 -m {MODULE} {run} {stage}, then go on with resume={run}"
        )
    else:
        _run_here([sys.executable, "-m", MODULE, str(run), stage], stage, here)


def _run_command(command: Sequence[str], stage: str) -> None:
    """A launcher of its own: it shows its processes' output and ends them together."""
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise InputError(f"launch: {command[0]}: {error.strerror}: give the cluster's launcher, or null") from None
    if code:
        raise InputError(f"{stage}: {command[0]} ended with exit code {code}, see above; resume=RUN_DIR continues")


def _run_here(command: Sequence[str], stage: str, count: int) -> None:
    with ExitStack() as stack:
        meeting = stack.enter_context(tempfile.TemporaryDirectory(prefix="umed-"))
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
        reports, report = os.pipe()
        stack.callback(os.close, reports)
        processes: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, processes)
        for rank in range(count):
            output = outputs[rank - 1] if rank else None  # the first shows what one process alone would show
            processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(report,),
                    env={**os.environ, **_environment(rank, count, meeting), REPORTS: str(report)},
                )
            )
        os.close(report)
        failed = _wait(processes)
        if failed is not None:
            _end(processes)
            raise _explain(stage, failed, processes[failed].returncode, count, _read_reports(reports), outputs)


def _environment(rank: int, count: int, meeting: str) -> dict[str, str]:
    """What torchrun would set; the processes meet at a file instead of a port that another program may take."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, _count_cores() // count))
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": threads,
        "UMED_MEETING": f"file://{meeting}/meeting",
        PARENT: str(os.getpid()),
    }


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """The number of the first process that failed, None when all are done."""
    until = inf
    while True:
        codes = [process.poll() for process in processes]
        failed = [rank for rank, code in enumerate(codes) if code]
        first = next((rank for rank in failed if codes[rank] != LOST), None)
        if first is not None or all(code == 0 for code in codes):
            return first
        if failed:
            until = min(until, monotonic() + MISSED)
        if failed and (None not in codes or monotonic() > until):
            return failed[0]
        sleep(LOOK)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End those that go on: they would wait for one that is gone."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    until = monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0.0, until - monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read_reports(reports: int) -> list[tuple[int, str]]:
    """Rank and error line of each process that has told one, the first error first."""
    data = b""
    while select.select([reports], [], [], 0)[0] and (part := os.read(reports, 65536)):
        data += part
    return [(line["rank"], line["error"]) for line in map(json.loads, data.splitlines())]


def _explain(
    stage: str, failed: int, code: int, count: int, reports: Sequence[tuple[int, str]], outputs: Sequence[IO[bytes]]
) -> Exception:
    """What the user is told: the first error, or how the process ended."""
    if reports:
        return InputError(reports[0][1])
    if code < 0:
        name = signal.Signals(-code).name
        why = ", as when memory runs out" if name == "SIGKILL" else ""
        return InputError(
            f"{stage}: process {failed} of {count} was ended by {name}{why}, and the others with it; resume=RUN_DIR "
            "continues"
        )
    if code == LOST:
        return InputError(f"{stage}: its {count} processes have lost each other; resume=RUN_DIR continues")
    output = "above"
    if failed:
        outputs[failed - 1].seek(0)
        output = outputs[failed - 1].read()[-10_000:].decode(errors="replace")
    return RuntimeError(f"{stage}: process {failed} of {count} ended with exit code {code}: {output}")


def report(rank: int, line: str) -> None:
    """Tell an error line: to the process that started this one, or where nobody listens, on standard error."""
    if REPORTS in os.environ:
        data = json.dumps({"rank": rank, "error": line[:3000]}) + "\n"
        os.write(int(os.environ[REPORTS]), data.encode())
    else:
        print(f"error: {line}", file=sys.stderr)


def end_with_parent() -> None:
    """End this process when the one that started it is gone, even by a kill: a resume would meet it at its files."""
    if (parent := os.environ.get(PARENT)) is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            sleep(1.0)
        os._exit(1)

    Thread(target=watch, name="parent", daemon=True).start()
