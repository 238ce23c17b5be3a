"""`task=prepare` and `task=export` as the config calls them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from composed import composed
from hydra.utils import get_method
from omegaconf import OmegaConf

from umed.data.card import render_card, render_head
from umed.errors import InputError
from umed.run_files import read_metrics


def test_sources_become_a_run_folder_which_its_manifest_makes_again_and_export_packs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = composed("task=prepare")
    phantom = {"root": str(tmp_path), "num_images": 4, "seed": 1}
    sample = {"total": 15, "by": "source", "seed": 0}
    OmegaConf.update(cfg, "data.source.phantom", phantom, merge=True)
    OmegaConf.update(cfg, "data.prepare", {"workers": 1, "sample": sample}, merge=True)
    cfg.paths.run_dir = str(tmp_path / "run")
    records = get_method(cfg.task._target_)(cfg)
    assert Counter(r.source for r in records) == {f"phantom_{name}": 3 for name in NAMES}
    metrics = read_metrics(tmp_path / "run")
    assert metrics["prepare/phantom_deeplesion/kept"] == 3 and metrics["prepare/phantom_deeplesion/left_out"] == 1
    assert len(list((tmp_path / "run" / "figures").glob("data_phantom_*.png"))) == 5

    again: Any = OmegaConf.merge(cfg, {"paths": {"run_dir": str(tmp_path / "again")}})
    again.data.prepare = {"manifest": str(tmp_path / "run/manifest.json"), "workers": 3, "sample": None}
    assert get_method(cfg.task._target_)(again) == records
    files = {"records.jsonl", "controls.jsonl", "dropped.jsonl", "manifest.json", "sources.json", "metrics.json"}
    assert {p.name for p in (tmp_path / "again").iterdir()} == {*files, "data_card.md", "figures"}

    capsys.readouterr()
    export = composed("task=export", f"records={tmp_path}/run/records.jsonl", f"paths.run_dir={tmp_path}/packed")
    get_method(export.task._target_)(export)
    [told] = capsys.readouterr().out.splitlines()
    assert told.startswith("15 records, ") and told.endswith(f" MiB -> {tmp_path}/packed/export")
    readme = (tmp_path / "packed/export/README.md").read_text()
    assert readme.startswith(render_head(records)) and readme.endswith(render_card(records))
    with pytest.raises(InputError, match="is there already"):
        get_method(export.task._target_)(export)
    options = ["task=prepare", "data/source=exported", f"data.source.exported.root={tmp_path}/packed/export"]
    options += [f"data.source.exported.unpacked={tmp_path}/unpacked", f"paths.run_dir={tmp_path}/unpacked_run"]
    cfg = composed(*options)
    assert [r.id for r in get_method(cfg.task._target_)(cfg)] == [
        r.id for split in ("train", "val", "test") for r in records if r.split == split
    ]


def test_no_source_is_told(tmp_path: Path) -> None:
    cfg = composed("task=prepare", f"paths.run_dir={tmp_path}/run")
    cfg.data.source = {}
    with pytest.raises(InputError, match="data/source"):
        get_method(cfg.task._target_)(cfg)


NAMES = ("deeplesion", "kidney_stone", "nih_chest", "tbx11k", "kvasir")
