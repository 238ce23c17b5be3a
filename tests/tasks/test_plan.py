"""`task=plan`: the table, the file, and what is refused."""

import json
from pathlib import Path

import pytest
from composed import composed

from umed import tasks
from umed.engine.plan import GB, Line, Phase, Plan
from umed.tasks import plan as task

MB = 2**20
PHASES = {
    "sft": Phase(896, {"gradients": Line(((896, 20 * GB), (1792, 30 * GB)))}, 15 * GB, 10 * MB, MB / 16),
    "aar": Phase(896, {"gradients": Line(((896, 22 * GB), (1792, 32 * GB)))}, 16 * GB, 11 * MB, MB / 16),
    "evaluate": Phase(896, {"sampling": Line(((0, 15 * GB), (896, 20 * GB)))}, 15 * GB, 0, MB / 16),
}


class Counted:
    """In the place of the planner: counts as given."""

    def __init__(self, cfg: object, text_tokens: int, gpu: bool) -> None:
        self.gpu = gpu

    def plan(self, **settings: object) -> Plan:
        assert settings.keys() == {"sft", "aar", "evaluate"}
        return Plan(PHASES, 640, 512)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "Planner", Counted)


def test_the_table_and_the_file(counted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks.run(
        composed("task=plan", "model=qwen2_5_vl_7b", "method=aar", "engine.tokens=1792", f"paths.run_dir={tmp_path}")
    )
    shown = capsys.readouterr().out
    for text in ("does not fit", "32.0 GB", "30.0 GB", "25.0 GB", "512 tokens of its picture and 128", "10 %"):
        assert text in shown.replace("10%", "10 %"), text
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found == {
        "model": "Qwen/Qwen2.5-VL-7B-Instruct",
        "method": "aar",
        "tokens": 1792,
        "peak_gb": {"sft": 30.0, "aar": 32.0, "evaluate": 25.0},
        "weights_gb": 16.0,
        "per_token_mb": {"activations": 11.0, "cache": 0.0625},
        "largest_budget": {"16": None, "24": None, "40": 2150, "80": 5376},
    }


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    with pytest.raises(SystemExit) as stop:
        tasks.run(composed("task=plan", *overrides))
    assert stop.value.code == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_budget_below_one_prompt(counted: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = f"paths.run_dir={tmp_path}"
    line = refused(capsys, "model=qwen2_5_vl_7b", "method=sft", "engine.tokens=895", run)
    assert "engine.tokens=895: one prompt with its answer takes 896 tokens (512 of the picture, 128 of text" in line
    assert "engine.tokens=0" in refused(capsys, "engine.tokens=0", run) and not (tmp_path / "plan.json").exists()


def test_another_method_and_another_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = f"paths.run_dir={tmp_path}"
    own = "method._target_=umed.methods.base.Method"
    assert "task=plan knows method=sft and method=aar" in refused(capsys, own, run)
    line = refused(capsys, "model=qwen2_5_vl_3b", f"model.path={tmp_path}", run)
    assert f"model.path={tmp_path}: no config.json" in line


@pytest.mark.slow
def test_the_embedded_model_is_planned_by_its_own_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks.run(composed("task=plan", "model=tiny", "method=sft", f"paths.run_dir={tmp_path}"))
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found["tokens"] == 4096 and all(0 < gb < 2 for gb in found["peak_gb"].values())
    assert found["largest_budget"]["80"] > 4 * found["largest_budget"]["16"] > 100_000
    assert found["per_token_mb"]["activations"] > 10 * found["per_token_mb"]["cache"]
