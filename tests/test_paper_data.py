"""`paths.mau` in an experiment: the real data sets take the place of the synthetic pictures."""

from pathlib import Path

import pytest
from composed import composed

from umed.errors import InputError
from umed.paper_data import use_mau

FOLDERS = ("DeepLesion", "KidneyStone", "ChestX-ray14", "TBX11K", "Kvasir-SEG")


def test_without_mau_the_pictures_are_synthetic() -> None:
    cfg = use_mau(composed("experiment=table7_unseen_category"))
    assert list(cfg.data.source) == ["phantom"] and "on_mau" not in cfg
    assert list(cfg.data.split.unseen.category) == ["lung"]
    assert use_mau(composed()) == composed()


def test_with_mau_sources_and_what_is_unseen_are_the_papers(tmp_path: Path) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    cfg = use_mau(composed("experiment=table7_unseen_category", f"paths.mau={tmp_path}"))
    assert [Path(node.root).name for node in cfg.data.source.values()] == list(FOLDERS)
    assert list(cfg.data.split.unseen.category) == ["abdomen", "lung", "pelvis"] and "on_mau" not in cfg
    assert cfg.data.controls == 0, "the paper trains on abnormal pictures alone"
    words = ["experiment=table7_unseen_category", f"paths.mau={tmp_path}", "data.controls=0.1",
             "data.split.unseen.category=[liver]"]  # fmt: skip
    given = use_mau(composed(*words), words)
    assert given.data.controls == 0.1 and list(given.data.split.unseen.category) == ["liver"]
    fewer = use_mau(composed("experiment=table2_main", f"paths.mau={tmp_path}", "data/source=[kvasir]"))
    assert list(fewer.data.source) == ["kvasir"]


def test_what_is_not_there_is_named_with_the_way_out(tmp_path: Path) -> None:
    for folder in FOLDERS[:3]:
        (tmp_path / folder).mkdir()
    with pytest.raises(InputError, match=r"no TBX11K/, Kvasir-SEG/ there: .*\[deeplesion,kidney_stone,nih_chest\]"):
        use_mau(composed("experiment=table2_main", f"paths.mau={tmp_path}"))
    for folder in FOLDERS[3:]:
        (tmp_path / folder).mkdir()
    for name in ("table3_external", "umed_lvlm"):
        with pytest.raises(InputError, match=r"no PMC-VQA/, VQA-RAD/, SLAKE/, MedMNIST/ there"):
            use_mau(composed(f"experiment={name}", f"paths.mau={tmp_path}"))
    use_mau(composed("experiment=umed_lvlm", "task=score"))  # reads no data set
