"""`task=bench` from end to end on a very small shape. Needs the extra `bench`."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from composed import CONF
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from small import SMALL

from umed import tasks
from umed.bench import shapes
from umed.bench.contenders import FIRST
from umed.bench.job import Job
from umed.bench.parity import LIMIT
from umed.bench.turns import prepare, run_process
from umed.errors import InputError

pytestmark = pytest.mark.slow
LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}


@pytest.fixture
def trl() -> None:
    pytest.importorskip("trl", reason="pip install 'umed[bench]'")


def run(folder: Path, *overrides: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        few = ["task.turns=1", "task.warmup=1", "task.steps=2"]
        tasks.run(compose("config", overrides=["task=bench", f"paths.run_dir={folder}", *few, *overrides]))


@pytest.mark.usefixtures("trl")
def test_every_kind_of_work_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(shapes.SHAPES, "mid_cpu", SMALL)
    monkeypatch.setitem(shapes.SHAPES, "long_cpu", SMALL)
    monkeypatch.setattr(shapes, "SCALED", {"candidates": (2, 4)})
    others = ["trl", "trl_answer_head", "ours_full", "trl_sft", "generate"]
    run(tmp_path, "task.shapes=[mid_cpu]", f"task.contenders=[{','.join(others)}]", "task.scaling=true")
    result = json.loads((tmp_path / "bench.json").read_text())
    assert {row["contender"] for row in result["rows"]} == {*others, *FIRST.values()}
    compared = {f"mid_cpu/{name}" for name in others}
    assert result["ratios"].keys() == compared | {f"{name}/memory" for name in compared}
    assert all(0 < ratio < 100 for ratio in result["ratios"].values())
    assert 0 < result["parity"] <= LIMIT
    for row in result["rows"]:
        assert (row["turns"], row["steps"]) == (1, 2) and row["peak_mb"] > row["start_mb"] > 0
        assert sum(row["split_s"].values()) == pytest.approx(row["step_s"])
    rewarding = {row["contender"]: row["split_s"] for row in result["rows"] if row["contender"] in ("ours", "trl")}
    assert all(seconds > 0 for split in rewarding.values() for seconds in split.values())
    assert [(row["axis"], row["value"]) for row in result["scaling"]] == [("candidates", 2), ("candidates", 4)]
    with Image.open(tmp_path / "figures" / "bench.png") as picture:
        assert picture.width > 500
    assert "TRL, head on answers only" in capsys.readouterr().out


@pytest.mark.usefixtures("trl")
@pytest.mark.parametrize("adapter", [None, LORA])
def test_another_mathematics_is_noticed(tmp_path: Path, adapter: dict[str, float] | None) -> None:
    """The gate passes as it stands, with an adapter too, and not where our loss is another one."""
    shape = replace(SMALL, adapter=adapter, frozen=() if adapter else SMALL.frozen)
    job = Job("parity", shape, tmp_path, warmup=1, steps=1, threads=1, seed=0)
    prepare(job)
    for overrides, passes in ([], True), (["objective.clip_eps=0.1"], False), (["model.temperature=0.9"], False):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("config", overrides=["task=bench", f"paths.run_dir={tmp_path}", *overrides])
        OmegaConf.save(cfg, tmp_path / "config.yaml")
        assert (max(run_process(job, "parity").values()) <= LIMIT) == passes


def test_a_process_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    job = Job("ours", SMALL, tmp_path / "mid_cpu", warmup=1, steps=1, threads=1, seed=0)
    with pytest.raises(InputError, match=r"mid_cpu/ours: exit code 1: .*; all of it is in .*ours-0\.log"):
        run_process(job, "ours-0")
