"""The bar counts all batches of a stage, goes on after a resume, and does not flood a log file."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from umed.callbacks.progress import StageProgress


def trainer(**metrics: float) -> Any:
    logged = {name: torch.tensor(value) for name, value in metrics.items()}
    return SimpleNamespace(is_global_zero=True, callback_metrics=logged, num_val_batches=[3])


def written(monkeypatch: pytest.MonkeyPatch, tty: bool = False) -> io.StringIO:
    screen = io.StringIO()
    screen.isatty = lambda: tty  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_resumed_stage_counts_on(monkeypatch):
    screen = written(monkeypatch)
    bar, module = StageProgress(), SimpleNamespace(stage="ppo", total_batches=40, iteration=25)
    run = trainer(**{"reward/total": 1.25, "reward/localization": 0.5, "rollout/unparsed": 0.0, "time/sample": 9.0})
    bar.on_train_start(run, module)
    for _ in range(15):
        bar.on_train_batch_end(run, module, None, [], 0)
    bar.teardown(run, module, "fit")
    text = screen.getvalue()
    assert "ppo:  62%" in text and "25/40" in text  # where it starts
    assert "40/40" in text and "reward=1.250, r_loc=0.500, unparsed=0.000" in text
    assert "time" not in text


def test_log_file_stays_short(monkeypatch):
    screen = written(monkeypatch)
    bar, module, run = (
        StageProgress(),
        SimpleNamespace(stage="sft", total_batches=5000, iteration=0),
        trainer(**{"sft/loss": 1}),
    )
    bar.on_train_start(run, module)
    for _ in range(5000):
        bar.on_train_batch_end(run, module, None, [], 0)
    bar.on_validation_start(run, module)
    bar.on_validation_batch_end(run, module)
    bar.on_validation_end(run, module)
    bar.on_exception(run, module, KeyboardInterrupt())
    assert len(screen.getvalue()) < 500
    assert "validating" not in screen.getvalue()


def test_validation_has_its_own_bar_on_a_terminal(monkeypatch):
    screen = written(monkeypatch, tty=True)
    bar, run = StageProgress(), trainer()
    module = SimpleNamespace(stage="sft", total_batches=2, iteration=0)
    bar.on_validation_start(run, module)
    bar.on_validation_end(run, module)
    assert "sft: validating" in screen.getvalue() and "0/3" in screen.getvalue()
