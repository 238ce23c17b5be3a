"""The default of the budget is what the plan says of the free memory; a run keeps its first one."""

import json
from pathlib import Path

import pytest
import torch
from composed import composed

from umed.engine import choose
from umed.engine.budget import FILE, Budget
from umed.engine.plan import GB, Line, Phase
from umed.errors import InputError
from umed.evaluation.evaluation_set import check_evaluation
from umed.training import check_stage

CPU = torch.device("cpu")
SLOPES = {"tuning": 2e6, "rewarding": 4e6, "evaluation": 1e6}  # bytes a token


class Counted:
    """Stands in for the planner, which takes seconds: memory in proportion to the tokens."""

    def __init__(self, cfg: object, gpu: bool) -> None:
        assert gpu

    def __getattr__(self, name: str) -> object:
        line = Line(((0, 1e9), (1000, 1e9 + 1000 * SLOPES[name])))
        return lambda method: Phase(100, {"a pass": line}, 0, 0, 0)


def test_a_small_model_on_a_cpu_is_not_counted(tmp_path: Path) -> None:
    cfg = composed()
    budget = choose.budget_of(cfg, tmp_path, CPU, "aar", cfg.method)
    assert budget.tokens == choose.SMALL_TOKENS
    assert json.loads((tmp_path / FILE).read_text()) == {"aar": {"tokens": choose.SMALL_TOKENS, "halvings": []}}


def test_each_stage_has_what_fits_for_it_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choose, "Planner", Counted)
    monkeypatch.setattr(choose, "free_bytes", lambda device: 10 * GB)
    cfg, gpu = composed("task=pipeline"), torch.device("cuda")
    stages = {"sft": ("tuning", cfg.task.sft), "aar": ("rewarding", cfg.method), "evaluate/sft": ("evaluation", None)}
    expected = {
        stage: int((10 * GB * (1 - choose.RESERVED) - 1e9) / SLOPES[work]) for stage, (work, _) in stages.items()
    }
    for memory in (10, 5):  # another program has come
        monkeypatch.setattr(choose, "free_bytes", lambda device, memory=memory: memory * GB)
        found = {s: choose.budget_of(cfg, tmp_path, gpu, s, method).tokens for s, (_, method) in stages.items()}
        assert found == expected
    assert f"engine.tokens={expected['sft']}: the most that fits into the 10 GB" in capsys.readouterr().out
    cfg = composed("task=pipeline", "engine.tokens=77")
    assert choose.budget_of(cfg, tmp_path, gpu, "aar", cfg.method).tokens == 77
    assert Budget(None, tmp_path / FILE, "sft").tokens == expected["sft"]


def test_what_does_not_fit_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "Planner", Counted)
    monkeypatch.setattr(choose, "free_bytes", lambda device: GB)
    with pytest.raises(InputError, match="does not fit into the 1 GB that are free"):
        choose.budget_of(composed(), tmp_path, torch.device("cuda"), "evaluate/base")
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("engine.tokens=0", "engine.tokens=0"),
        ("engine.merge=maybe", "engine.merge=maybe: choose auto, true or false"),
        ("engine.features=null", "engine.features=None: disk_mb, folder, memory_mb are needed"),
        ("++engine.features.foo=1", "engine.features=.*and nothing else"),
        ("engine.features.memory_mb=-1", "engine.features.memory_mb"),
        ("engine.features.disk_mb=8 engine.features.folder=null", "engine.features.folder=null"),
    ],
)
@pytest.mark.parametrize("task", ["train", "evaluate"])
def test_wrong_settings_are_told_before_anything_long(task: str, override: str, line: str) -> None:
    cfg = composed(f"task={task}", *override.split())
    with pytest.raises(InputError, match=line):
        check_stage(cfg, cfg.method) if task == "train" else check_evaluation(cfg)


def test_what_this_process_holds_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planner counts the weights, which evaluation has loaded by then."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (30 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 16 * GB)
    assert choose.free_bytes(torch.device("cuda")) == 46 * GB
