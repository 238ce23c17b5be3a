"""An endpoint that fails often and a run that is killed again and again: nothing is lost, nothing is paid twice."""

import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from umed.annotate.openai_annotator import OpenAIAnnotator
from umed.records import Record, read_records
from umed.run_files import write_jsonl

ROOT = Path(__file__).parents[2]
FAULTS = {"429": 0.20, "500": 0.05, "garbage": 0.05, "time-out": 0.02}
CONCURRENCY = 8


@contextmanager
def endpoint(log: Path, faults: dict[str, float]) -> Iterator[str]:
    """A server in its own process; its address."""
    command = [sys.executable, str(Path(__file__).with_name("loopback.py")), str(log), json.dumps(faults)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def requests(log: Path) -> list[dict[str, Any]]:
    """What the endpoint has noted; a line under way is left out."""
    if not log.is_file():
        return []
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]]


def killed_at(url: str, log: Path, count: int, is_alive: Callable[[], bool], pid: int) -> float:
    """Kill the process when the endpoint has seen so many requests; a moment at which it has read what was sent."""
    while len(requests(log)) < count:
        assert is_alive(), "ended before it was killed"
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    while int(urlopen(url.removesuffix("/v1")).read()) > 1:  # connections; one is this one
        time.sleep(0.01)
    return time.time()


def check(records: list[Record], done: list[Record], log: Path, kills: list[float]) -> dict[str, int]:
    """Every record ended; no answer was paid twice, but for those under way at a kill. What was counted."""
    assert [r.id for r in done] == [r.id for r in records]
    notes = [r.provenance["annotation"] for r in done]
    for record, note in zip(done, notes, strict=True):
        assert (note["status"] == "ok") == bool(record.diagnosis) == ("reason" not in note)
        assert record.diagnosis.count("<region>") == (note["status"] == "ok")
    paid: dict[str, list[dict[str, Any]]] = defaultdict(list)
    came = requests(log)
    for request in came:
        if request["status"] == 200:
            paid[request["key"].removesuffix("-free")].append(request)
    twice = [answers for answers in paid.values() if len(answers) > 1]
    for answers in twice:
        for first, second in itertools.pairwise(answers):
            # the first one was under way when a run was killed
            assert any(first["arrived"] <= k < second["arrived"] for k in kills), answers
    again = sum(len(answers) - 1 for answers in twice)
    assert again <= CONCURRENCY * len(kills)
    return {
        "requests": len(came), "paid": sum(map(len, paid.values())), "paid again": again,
        "ok": sum(note["status"] == "ok" for note in notes),
    }  # fmt: skip


def test_a_run_that_is_killed_twice_pays_for_no_answer_again(
    make_records: Callable[[int], list[Record]], roots: dict[str, Path], settings: dict[str, Any], tmp_path: Path
) -> None:
    records, log, kills = make_records(60), tmp_path / "log", list[float]()
    faults = {**FAULTS, "time-out": 0.0}
    with endpoint(log, faults) as url:
        options = {**settings, "base_url": url, "concurrency": CONCURRENCY, "tries": 8}
        fork = multiprocessing.get_context("fork")

        def run() -> None:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            OpenAIAnnotator(**options).annotate(records, roots)

        for count in (40, 90):
            process = fork.Process(target=run)
            process.start()
            kills.append(killed_at(url, log, count, process.is_alive, process.pid or 0))
            process.join()
        done = OpenAIAnnotator(**options).annotate(records, roots)
        asked = len(requests(log))
        assert OpenAIAnnotator(**options).annotate(records, roots) == done
        assert len(requests(log)) == asked
    found = check(records, done, log, kills)
    assert found["ok"] >= 50 and found["requests"] > 130


@pytest.mark.slow
def test_two_thousand_records_and_five_kills(
    make_records: Callable[[int], list[Record]], roots: dict[str, Path], tmp_path: Path
) -> None:
    """By the command that users type; prints what it took."""
    records, log, run, kills = make_records(2000), tmp_path / "log", tmp_path / "run", list[float]()
    write_jsonl(tmp_path / "given" / "records.jsonl", (r.to_json() for r in records))
    (tmp_path / "given" / "sources.json").write_text(json.dumps({"s": str(roots["s"])}))
    started = time.time()
    with endpoint(log, FAULTS) as url:
        command = [
            sys.executable, "run.py", "task=annotate", "annotator=openai", f"annotator.base_url={url}",
            f"records={tmp_path / 'given' / 'records.jsonl'}", f"hydra.run.dir={run}", "annotator.timeout=2",
            "annotator.backoff=0.05", f"annotator.concurrency={CONCURRENCY}", "annotator.tries=8",
        ]  # fmt: skip
        for k in range(5):
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            count = len(requests(log)) + random.Random(k).randint(300, 900)
            kills.append(killed_at(url, log, count, lambda p=process: p.poll() is None, process.pid))
            process.wait()
            assert not (run / "records.jsonl").exists()
        last = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert last.returncode == 0, last.stderr[-2000:]
    wall = time.time() - started
    found = check(records, read_records(run / "records.jsonl"), log, kills)
    print(f"\n{wall:.1f} s, {found}\n{last.stdout}")
    assert found["ok"] > 1900
    assert all(b"never-show-me" not in p.read_bytes() for p in run.rglob("*") if p.is_file())
