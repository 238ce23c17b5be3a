"""The default of the budget is what the plan says of the free memory; a run keeps its first one."""

import json
from pathlib import Path

import pytest
import torch
from composed import composed

from umed.engine import choose
from umed.engine.budget import FILE
from umed.engine.plan import GB, Line, Phase
from umed.errors import InputError

CPU = torch.device("cpu")
SLOPES = {"tuning": 2e6, "rewarding": 4e6, "evaluation": 1e6}  # bytes a token


class Counted:
    """Stands in for the planner, which takes seconds: memory in proportion to the tokens."""

    def __init__(self, cfg: object, gpu: bool) -> None:
        assert gpu

    def __getattr__(self, name: str) -> object:
        line = Line(((0, 1e9), (1000, 1e9 + 1000 * SLOPES[name])))
        return lambda method: Phase(100, (line,), 0, 0, 0)


def test_a_small_model_on_a_cpu_is_not_counted(tmp_path: Path) -> None:
    budget = choose.budget_of(composed(), tmp_path, CPU)
    assert budget.tokens == choose.SMALL_TOKENS
    assert json.loads((tmp_path / FILE).read_text()) == {"asked": choose.SMALL_TOKENS, "halvings": []}


def test_the_stage_that_needs_most_decides_and_the_run_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choose, "Planner", Counted)
    monkeypatch.setattr(choose, "free_bytes", lambda device: 10 * GB)
    cfg, gpu = composed("task=train", "method=aar"), torch.device("cuda")
    expected = int((10 * GB * (1 - choose.RESERVED) - 1e9) / SLOPES["rewarding"])
    assert choose.budget_of(cfg, tmp_path, gpu).tokens == expected
    assert f"engine.tokens={expected}" in capsys.readouterr().out
    monkeypatch.setattr(choose, "free_bytes", lambda device: 5 * GB)  # another program has come
    assert choose.budget_of(cfg, tmp_path, gpu).tokens == expected
    assert choose.budget_of(composed("engine.tokens=77"), tmp_path, gpu).tokens == 77


def test_what_does_not_fit_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "Planner", Counted)
    monkeypatch.setattr(choose, "free_bytes", lambda device: GB)
    with pytest.raises(InputError, match="does not fit into the 1 GB that are free"):
        choose.budget_of(composed(), tmp_path, torch.device("cuda"))
    assert not (tmp_path / FILE).exists()
