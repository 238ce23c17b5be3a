"""Members of a sweep: what is done is not computed again, what was begun goes on, under the same config only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from composed import CONF, composed
from hydra import compose, initialize_config_dir

import umed
from umed.sweeps import is_done, is_started_member, mark_done

SCRIPT = """
import sys
from pathlib import Path
import hydra
import umed.tasks as tasks

def task(cfg):
    marker = Path(cfg.paths.run_dir) / "computed"
    marker.write_text(marker.read_text() + "x" if marker.exists() else "x")
    if cfg.seed == 1 and len(marker.read_text()) == 1:
        raise KeyboardInterrupt

tasks.get_method = lambda _: task
hydra.main(version_base="1.3", config_path=CONF, config_name="config")(tasks.run)()
"""


def sweep(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = folder / "sweep.py"
    script.write_text(SCRIPT.replace("CONF", repr(str(CONF))))
    command = [sys.executable, str(script), "-m", f"hydra.sweep.dir={folder / 'sweep'}", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(umed.__file__).parents[1])}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def test_a_sweep_started_again_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    def computed() -> list[str]:
        return [path.read_text() for path in sorted((tmp_path / "sweep").glob("*/computed"))]

    assert sweep(tmp_path, "seed=0,1,2").returncode != 0 and computed() == ["x", "x"]
    again = sweep(tmp_path, "seed=0,1,2")
    assert again.returncode == 0, again.stderr
    assert computed() == ["x", "xx", "x"]
    assert "seed-0: done before, nothing is computed again" in again.stdout.replace("\n", "")
    other = sweep(tmp_path, "seed=0,1,2", "method.lr=1", "hydra.sweep.subdir=seed-${seed}")
    assert other.returncode == 1 and "method.lr" in other.stderr and other.stderr.count("error:") == 3


def test_what_is_no_member_of_a_sweep(tmp_path: Path) -> None:
    mark_done(tmp_path)
    assert not is_done(tmp_path), "a run without a stored config is no member"
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").touch()
    mark_done(tmp_path)
    assert is_done(tmp_path) and not is_started_member(composed(f"paths.run_dir={tmp_path}"))


PAPER = ["table2_main", "table3_external", "table6_ablation", "table7_unseen_category", "table8_unseen_dataset",
         "table9_unseen_modality", "figure_data_scale", "figure_epochs", "figure_iou_vs_diagnosis",
         "figure_when_rewarding_pays"]  # fmt: skip


@pytest.mark.parametrize("name", PAPER)
def test_an_experiment_of_the_paper_is_a_paired_multirun_with_a_table(name: str) -> None:
    from umed.evaluation.seeds import Layout

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[f"experiment={name}"], return_hydra_config=True)
    assert cfg.hydra.mode.name == "MULTIRUN" and len(str(cfg.hydra.sweeper.params.seed).split(",")) >= 3
    table = dict(cfg.hydra.callbacks.table)
    assert table.pop("_target_") == "umed.callbacks.seeds_table.SeedsTable" and table.pop("file") == f"{name}.json"
    layout = Layout(**table)
    evaluated = {"base", "sft", *cfg.task.stages, *(["sft_continued"] if cfg.task.sft_continued else [])}
    assert set(layout.rows) <= evaluated
    assert {stage for pair in layout.differences for stage in pair} <= evaluated or not layout.rows
    assert name == "table3_external" or not cfg.data.get("benchmark")
