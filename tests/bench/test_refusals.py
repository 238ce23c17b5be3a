"""What cannot be measured is refused in one line before anything is built."""

from pathlib import Path

import pytest
import torch
from composed import composed

from umed import tasks
from umed.bench import theirs
from umed.bench.contenders import CONTENDERS, FIRST
from umed.tasks.bench import with_first


def refused(capsys: pytest.CaptureFixture[str], run: Path, *overrides: str) -> str:
    with pytest.raises(SystemExit) as stop:
        tasks.run(composed("task=bench", f"paths.run_dir={run}", *overrides))
    assert stop.value.code == 1 and not list(run.glob("*/model"))
    [line] = capsys.readouterr().err.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("task.shapes=[tall_cpu]", "task.shapes=['tall_cpu']: choose among mid_cpu, long_cpu, gpu_2b"),
        ("task.shapes=[]", "task.shapes=[]: choose at least one of mid_cpu"),
        ("task.contenders=[verl]", "task.contenders=['verl']: choose among ours, trl, trl_answer_head"),
        ("task.turns=0", "task.turns=0: at least 1 is needed"),
        ("task.steps=1.5", "task.steps=1.5: a whole number is needed"),
    ],
)
def test_settings_that_cannot_be(capsys: pytest.CaptureFixture[str], tmp_path: Path, setting: str, said: str) -> None:
    assert said in refused(capsys, tmp_path, setting)


def test_trl_is_named_where_it_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(theirs, "find_spec", lambda name: None)
    assert "pip install 'umed[bench]'" in refused(capsys, tmp_path)


def test_a_shape_for_a_gpu_needs_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "task.shapes=['gpu_2b']: needs a GPU" in refused(capsys, tmp_path, "task.shapes=[gpu_2b]")


def test_ours_is_always_measured_too() -> None:
    assert with_first(["trl", "generate"]) == ["ours", "ours_evaluate", "trl", "generate"]
    assert {CONTENDERS[name].work: name for name in FIRST.values()} == FIRST
