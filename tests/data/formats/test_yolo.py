"""YOLO: layouts, polygons, and every defect told."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from items import boxes, lost, write
from items import draw as picture

from umed.data.sources.base import Item
from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.records import Dropped, Record


def read(root: Path, **options: Any) -> list[Item]:
    return list(FolderSource(root, format="yolo", **options).read({}))


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    write(tmp_path / "data.yaml", "names: [Lung_Tumor, cyst]\n")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "split", "names"),
    [
        ("images", "", "[a, Lung_Tumor]"),
        ("valid/images", "valid", "{1: lung tumor}"),
        ("images/train", "train", "\n  - a\n  - LUNG tumor"),
        ("images/p1", "", "{'1': lung_tumor}"),
    ],
)
def test_layouts(yolo: Path, place: str, split: str, names: str) -> None:
    write(yolo / "data.yaml", f"path: /nowhere\ntrain: ../x\nnames: {names}\n")
    picture(yolo / place / "a.b.png")
    write(yolo / place.replace("images", "labels") / "a.b.txt", "1 0.5 0.5 0.25 0.5\n\n1 0.1 0.1 0.1 0.1\r\n")
    [record] = read(yolo)
    assert isinstance(record, Record)
    assert boxes([record]) == {f"{place}/a.b.png": [(15, 5, 25, 15), (2, 1, 6, 3)]}
    assert (record.category, record.official_split, record.split) == ("lung tumor", split, "")
    assert record.provenance["raw"] == ["1 0.5 0.5 0.25 0.5", "1 0.1 0.1 0.1 0.1"]


def test_polygons_become_boxes(yolo: Path) -> None:
    picture(yolo / "images/a.png")
    write(yolo / "labels/a.txt", "1 0.5 0.1 0.25 0.9 0.75 0.5\n")
    assert boxes(read(yolo)) == {"images/a.png": [(10, 2, 30, 18)]}


def test_without_a_label_is_a_control(yolo: Path) -> None:
    for seed, name in enumerate(("none", "empty", "blank", "found")):
        picture(yolo / f"images/{name}.png", seed)
    write(yolo / "labels/empty.txt", "")
    write(yolo / "labels/blank.txt", " \r\n\n")
    write(yolo / "labels/found.txt", "0 0.5 0.5 0.5 0.5")
    items = read(yolo)
    controls = [i for i in items if isinstance(i, Record) and not i.boxes]
    assert [c.image for c in controls] == ["images/blank.png", "images/empty.png", "images/none.png"]
    assert lost(items) == {c.image: "unlabeled" for c in controls}


def test_defects_of_a_line_or_a_file(yolo: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.txt"
    outside.write_text("0 0.5 0.5 0.5 0.5")
    for seed, name in enumerate(("a", "folder", "link", "dangling")):
        picture(yolo / f"images/{name}.png", seed)
    lines = ("0 nan .5 .5 .5", "0 .5 inf .5 .5", "0 .5 .5 .5", "0 .5 .5 .5 .5 .9", "0 0x1 .5 .5 .5", "0 .5 .5 0 .5")
    polygon = "0 .1 .1 nan .5 .9 .9"
    write(yolo / "labels/a.txt", "\n".join([*lines, polygon, "0 .5 .5 .5 .5"]))
    write(yolo / "labels/gone.txt", "0 .5 .5 .5 .5")
    (yolo / "labels/folder.txt").mkdir()
    (yolo / "labels/link.txt").symlink_to(outside)
    (yolo / "labels/dangling.txt").symlink_to("nowhere.txt")
    items = read(yolo)
    assert boxes(items) == {"images/a.png": [(10, 5, 30, 15)]}
    assert lost(items) == {
        **{f"images/a.png line {number}": "malformed" for number in (1, 2, 3, 4, 5, 7)},
        "images/a.png line 6": "out_of_frame",
        "images/folder.png": "malformed",
        "images/link.png": "malformed",
        "images/dangling.png": "malformed",
        "labels/gone.txt": "missing_file",
    }


def test_another_convention_is_refused(yolo: Path) -> None:
    picture(yolo / "images/a.png")
    wrong = {
        "0 10 5 20 10": r"labels/a\.txt:1: 10 is outside \[0, 1\]",
        "0 .5 .5 1.2 .5": r"1\.2 is outside",
        "0 -.5 .5 .2 .5": r"-0\.5 is outside",
        "7 .5 .5 .2 .5": "class 7 is not in names",
        "-1 .5 .5 .2 .5": "class -1 is not in names",
        "cyst .5 .5 .2 .5": "class cyst: an index",
    }
    for line, told in wrong.items():
        write(yolo / "labels/a.txt", line)
        with pytest.raises(InputError, match=told):
            read(yolo)


def test_rounding_is_no_other_convention(yolo: Path) -> None:
    picture(yolo / "images/a.png")
    write(yolo / "labels/a.txt", "0 0.5 0.5 1.0000005 1")
    assert boxes(read(yolo)) == {"images/a.png": [(0, 0, 40, 20)]}


def test_names_that_are_none_are_told_in_one_line(yolo: Path) -> None:
    picture(yolo / "images/a.png")
    wrong = {
        "": "empty",
        **dict.fromkeys(("names: [", "x: 2024-99-99", "names: [\0]", "names: " + "[" * 1000), "not YAML"),
        "names: !!python/object/apply:os.getcwd []": "not YAML",
        **dict.fromkeys(("names: []", "names: a", "nc: 3", "- a", "[1, 2]"), "no names"),
        "names: {a: b}": "an index with a name in quotes is expected, found str with str",
        "names: {true: a}": "found bool with str",
        "names: {-1: a}": "found int with str",
        "names: [1]": "found int with int",
        "names: [yes]": "found int with bool",
        "a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b]": "found int with list",
    }
    for text, told in wrong.items():
        write(yolo / "data.yaml", text)
        with pytest.raises(InputError, match=rf"data\.yaml: .*{told}") as caught:
            read(yolo)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_without_files(yolo: Path) -> None:
    with pytest.raises(InputError, match="no folder images and none train/images"):
        read(yolo)
    (yolo / "data.yaml").unlink()
    with pytest.raises(InputError, match=r"no file .*data\.yaml: a YAML file with names"):
        read(yolo)


def test_names_of_pictures_and_classes_that_no_file_can_hold(yolo: Path) -> None:
    write(yolo / "data.yaml", 'names: [cyst, "\\uD800"]\n')
    picture(yolo / "images/a.png")
    odd = yolo / "images" / b"b\xff.png".decode("utf-8", "surrogateescape")
    odd.write_bytes((yolo / "images/a.png").read_bytes())
    write(yolo / "labels/a.txt", "0 .5 .5 .5 .5\n1 .5 .5 .5 .5")
    items = read(yolo)
    assert boxes(items) == {"images/a.png": [(10, 5, 30, 15)]}
    assert Counter(i.reason for i in items if isinstance(i, Dropped)) == {"malformed": 2}
    for item in items:
        str(item.to_json()).encode()  # it can be written
