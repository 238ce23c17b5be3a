"""Processes of a stage: all are started, told who they are, and ended together, with one line."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from composed import composed

from umed import launch, tasks
from umed.errors import InputError
from umed.orders import read_order, write_order
from umed.processes import ALONE, Processes, find_processes, is_lost, join
from umed.records import RecordSet

TELL = (
    "import os, json; line = json.dumps({'rank': 1, 'error': %r}) + chr(10); "
    "os.write(int(os.environ['UMED_REPORTS']), line.encode())"
)


def start(program: str, count: int = 2) -> None:
    """`program` in the place of the worker."""
    launch._run_here([sys.executable, "-c", program], "sft", count)


def test_each_process_is_told_which_one_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "UMED_PARENT", "OMP_NUM_THREADS"]
    start(f"import os; open(os.path.join({str(tmp_path)!r}, os.environ['RANK']), 'w').write("
          f"' '.join(os.environ[n] for n in {names}))", 3)  # fmt: skip
    told = sorted(path.read_text().split() for path in tmp_path.iterdir())
    threads = str(max(1, len(os.sched_getaffinity(0)) // 3))
    assert told == [[str(r), str(r), "3", "3", str(os.getpid()), threads] for r in range(3)]


def test_an_error_of_one_ends_all_with_its_line() -> None:
    program = f"import os, sys, time\nif os.environ['RANK'] == '0': time.sleep(60)\n{TELL % 'no room'}\nsys.exit(1)"
    began = time.monotonic()
    with pytest.raises(InputError, match="^no room$"):
        start(program)
    assert time.monotonic() - began < 20


def test_a_process_that_is_killed_ends_all() -> None:
    program = "import os, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\ntime.sleep(60)"
    began = time.monotonic()
    with pytest.raises(InputError, match="sft: process 1 of 2 was ended by SIGKILL.*resume=RUN_DIR continues"):
        start(program)
    assert time.monotonic() - began < 20


def test_a_process_that_has_lost_another_one_says_nothing() -> None:
    program = "import os, sys, time\nif os.environ['RANK'] == '1': time.sleep(1); os.kill(os.getpid(), 9)\nsys.exit(75)"
    with pytest.raises(InputError, match="sft: process 1 of 2 was ended by SIGKILL"):
        start(program)
    with pytest.raises(InputError, match="sft: its 2 processes have lost each other; resume=RUN_DIR continues"):
        start("import sys; sys.exit(75)")
    with pytest.raises(InputError, match="have lost each other"):  # at the very end, when one was done
        start("import os, sys; sys.exit(75 * int(os.environ['RANK']))")
    assert is_lost(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1"))
    assert not is_lost(RuntimeError("a defect")) and not is_lost(ValueError("NCCL"))


def test_a_process_that_is_stuck_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MISSED", 0.1)
    began = time.monotonic()
    with pytest.raises(InputError, match="have lost each other; resume=RUN_DIR continues"):
        start("import os, sys, time\nif os.environ['RANK'] == '0': time.sleep(60)\nsys.exit(75)")
    assert time.monotonic() - began < 20


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="(?s)process 1 of 2 ended with exit code 1:.*ZeroDivisionError"):
        start("import os, time\nif os.environ['RANK'] == '0': time.sleep(60)\n1 / 0")


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Also where it is killed: else a resume would meet them at the checkpoints."""
    child = (
        "import os, sys, threading, time\n"
        "from types import SimpleNamespace\n"
        f"source = open({launch.__file__!r}).read()\n"
        "watch = source[source.index('def end_with_parent'):]\n"
        "scope = {'os': os, 'sleep': time.sleep, 'Thread': threading.Thread, 'PARENT': 'UMED_PARENT'}\n"
        "exec(watch, scope); scope['end_with_parent']()\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(60)"
    )
    pid = os.fork()
    if not pid:
        os.environ["UMED_PARENT"] = str(os.getpid())
        os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", child)
        os._exit(0)
    until = time.monotonic() + 60
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until = time.monotonic() + 20
    while _is_running(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < until
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_who_started_the_processes() -> None:
    assert find_processes({}) == ALONE
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert find_processes(torchrun) == Processes(5, 8, 1, 4)
    slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "2"}
    assert find_processes(slurm) == Processes(3, 4, 1, 2)
    with pytest.raises(InputError, match="RANK=one"):
        find_processes({**torchrun, "RANK": "one"})
    import torch

    with pytest.raises(InputError, match="8 processes were started, but .* say 2"):
        join(torch.device("cpu"), 2, torchrun)


def test_several_machines_need_a_launcher(tmp_path: Path) -> None:
    several = ["trainer=ddp", "trainer.devices=2", "trainer.num_nodes=2", "trainer.accelerator=cpu"]
    with pytest.raises(
        InputError, match=r"sft: prepared for 2 machines .*torchrun --nnodes=2 --nproc-per-node=2"
    ) as error:
        launch.launch(composed(*several, f"paths.run_dir={tmp_path}"), "sft")
    assert f"-m umed.worker {tmp_path} sft, then go on with resume={tmp_path}" in str(error.value)
    with pytest.raises(InputError, match="launch: no-such-launcher: No such file"):
        launch.launch(composed(*several, f"paths.run_dir={tmp_path}", "launch=no-such-launcher"), "sft")
    log = tmp_path / "log"
    script = tmp_path / "srun"
    script.write_text(f'#!/bin/sh\necho "$@" > {log}\nexit 3\n')
    script.chmod(0o755)
    with pytest.raises(InputError, match="sft: .*srun ended with exit code 3"):
        launch.launch(composed(*several, f"paths.run_dir={tmp_path}", f"launch='{script} python'"), "sft")
    assert log.read_text().split() == ["python", "-m", "umed.worker", str(tmp_path), "sft"]


@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID"])
def test_run_py_is_started_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SystemExit):
        tasks.run(composed(f"paths.run_dir={tmp_path}"))
    assert "error: run.py was started several times" in capsys.readouterr().err


def test_an_order_is_read_as_it_was_written(tmp_path: Path, make_order_record: object) -> None:
    cfg = composed("credit=gae", "seed=7", f"paths.run_dir={tmp_path}", "method.lr=1.25e-5")
    data = RecordSet([make_order_record], {"synthetic": tmp_path})  # type: ignore[list-item]
    write_order(cfg, "aar", {"train": data, "other": None}, "train", {"stage": "aar", "largest": [3, "x"]})
    read, kind, settings, found = read_order(tmp_path, "aar")
    assert (kind, settings) == ("train", {"stage": "aar", "largest": [3, "x"]})
    assert read == cfg and read.method.lr == 1.25e-5 and read.method.seed == 7
    assert list(found) == ["train"] and list(found["train"].records) == list(data.records)
    assert json.loads((tmp_path / "stages" / "aar" / "train" / "sources.json").read_text())
    with pytest.raises(InputError, match="no such stage"):
        read_order(tmp_path, "sft")


@pytest.fixture
def make_order_record() -> object:
    from conftest import make_record

    record = make_record(0, 56, 56)
    return type(record).from_json(record.to_json())
