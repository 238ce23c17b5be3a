"""Prediction lines, and commands as users type them."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from composed import composed

from umed import tasks

ROOT = Path(__file__).parents[2]


def line(number: int, dataset: str, kind: str, answer: Any, output: str, **more: Any) -> dict:
    base = {"id": f"item {number}", "dataset": dataset, "split_file": "test.json", "question": "What?"}
    own = {"answer": answer, "answer_type": kind, "output": output, "image": f"{number // 2}.jpg"}
    return {**base, **own, "choices": None, "boxes": None, "scores": None, **more}


def run(*words: str, fails: bool = False) -> str:
    """What a command prints; with `fails`, its one line on standard error."""
    done = subprocess.run(
        [sys.executable, "run.py", *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == int(fails), done.stderr[-2000:]
    if fails:
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
        return done.stderr
    return done.stdout


def run_here(run_dir: Path, *words: str, fails: bool = False) -> str:
    """The same in this process, which has imported all that a task needs."""
    cfg = composed(f"paths.run_dir={run_dir}", *words)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            tasks.run(cfg)
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            code = stop.code
    assert code == int(fails), err.getvalue()
    if fails:
        assert err.getvalue().startswith("error: ") and err.getvalue().count("\n") == 1, err.getvalue()
        return err.getvalue()
    return out.getvalue()


def written(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))
    return path
