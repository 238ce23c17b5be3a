"""KidneyStone: a Roboflow export in, slices with their stones out."""

import os
from pathlib import Path
from typing import Any

import pytest

from umed.data.sources.base import Picture
from umed.data.sources.kidney_stone import KidneyStoneSource
from umed.errors import InputError
from umed.records import Dropped, Record
from umed.synthetic.examples.sources.kidney_stone import (
    DATA_YAML,
    NEIGHBOR,
    ONE,
    ONE_BOX,
    SLICE,
    UID,
    add,
    write_example,
)

NAME = "train/one.jpg"


def read(root: Path, label: str | None = ONE, names: str = DATA_YAML) -> list[Any]:
    """What reading one slice with this label file gives."""
    (root / "data.yaml").write_text(names, encoding="utf-8")
    add(root, NAME, 10, label)
    return list(KidneyStoneSource(root).read({}))


def test_what_a_record_says(tmp_path: Path) -> None:
    write_example(tmp_path)
    record = next(r for r in KidneyStoneSource(tmp_path).read({}) if isinstance(r, Record))
    name = f"{SLICE}.rf.{'a' * 32}.jpg"
    assert (record.id, record.image) == (f"kidney_stone/train/{name}", f"train/images/{name}")
    assert (record.width, record.height, record.category, record.modality) == (391, 320, "kidney stone", "CT")
    assert (record.group, record.official_split, record.window) == (UID, "train", None)
    assert record.provenance["raw"] == [ONE.strip()]


def test_what_is_dropped_is_named(tmp_path: Path) -> None:
    write_example(tmp_path)
    dropped = {d.item: d.reason for d in KidneyStoneSource(tmp_path).read({}) if isinstance(d, Dropped)}
    assert dropped == {
        f"train/{SLICE}.rf.{'c' * 32}.jpg": "duplicate",
        "train/empty.rf.0.jpg": "unlabeled",
        "train/none.jpg": "unlabeled",
        **{f"valid/lines.jpeg line {number}": "malformed" for number in (1, 2, 3, 4)},
        "valid/lines.jpeg line 7": "out_of_frame",  # line 6 is blank
        "valid/gone.txt": "missing_file",
        "test/cut.jpg": "unreadable",
        "test/notes.txt.jpg": "unreadable",
    }


def test_every_file_of_the_folders_is_accounted_for(tmp_path: Path) -> None:
    write_example(tmp_path)
    (tmp_path / "train/images/Thumbs.db").write_bytes(b"x")
    add(tmp_path, "train/whole.bmp", 99, ONE)  # no picture of the release is one
    (tmp_path / "train/images/.hidden").write_bytes(b"x")
    (tmp_path / "train/images/folder.jpg").mkdir()
    items = [i for i in KidneyStoneSource(tmp_path).read({}) if isinstance(i, Record | Dropped)]
    told = {i.image if isinstance(i, Record) else i.item.split(" line")[0].replace("/", "/images/") for i in items}
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/images/[!.]*")}
    assert told == there | {"valid/images/gone.txt"}
    whole = [i.reason for i in items if isinstance(i, Dropped) and i.item == "train/whole.bmp"]
    assert whole == ["unreadable"]


@pytest.mark.parametrize(
    ("file", "group"),
    [
        (f"{SLICE}.rf.{'a' * 32}.jpg", UID),
        (f"{NEIGHBOR}.rf.{'b' * 32}.jpg", UID),
        ("1-2-3-4.png", "1-2-3"),
        ("1-2-3-4_jpg.rf.0.jpg", "1-2-3"),
        ("1-2-3.rf.0.jpg", "1-2-3"),  # too few parts for a UID
        ("1-2-3-x.rf.0.jpg", "1-2-3-x"),
        ("1-2-3-4-x.rf.0.jpg", "1-2-3-4-x"),
        ("scan_12_png.rf.0.jpg", "scan_12_png"),
        ("scan.rf.1.rf.2.jpg", "scan.rf.1"),
        ("plain.jpeg", "plain"),
    ],
)
def test_copies_and_neighbors_are_one_group(tmp_path: Path, file: str, group: str) -> None:
    (tmp_path / "data.yaml").write_text(DATA_YAML, encoding="utf-8")
    add(tmp_path, f"test/{file}", 10, ONE)
    [picture] = KidneyStoneSource(tmp_path).list_pictures()
    assert isinstance(picture, Picture)
    assert (picture.group, picture.official_split) == (group, "test")


@pytest.mark.parametrize(
    "line",
    [
        "0",
        "0 0.5 0.5 0.5",
        "0 0.5 0.5 0.5 0.5 0.9",
        "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9",
        "0,0.5,0.5,0.5,0.5",
        *(f"0 0.5 0.5 0.5 {odd}" for odd in ("1.01", "-0.1", "nan", "inf", "1e999", "0x1", "half", "0_1", "0.5\0")),
        *(f"{odd} 0.5 0.5 0.5 0.5" for odd in ("1", "-1", "0.5", "nan", "1e999", "Tas_Var")),
    ],
)
def test_odd_lines_are_malformed_and_cost_themselves_only(tmp_path: Path, line: str) -> None:
    lost, kept = read(tmp_path, f"{line}\n{ONE}")
    assert isinstance(lost, Dropped) and isinstance(kept, Record)
    assert (lost.item, lost.reason) == (f"{NAME} line 1", "malformed") and lost.detail.isprintable()
    assert kept.boxes[0].to_xyxy(391, 320) == pytest.approx(ONE_BOX)


def test_a_picture_whose_lines_are_all_dropped_is_not_called_unlabeled(tmp_path: Path) -> None:
    assert [d.reason for d in read(tmp_path, "0 0.5\n")] == ["malformed"]


@pytest.mark.parametrize("label", [None, "", "\n\n", "\ufeff \r\n"])
def test_no_line_is_no_label(tmp_path: Path, label: str | None) -> None:
    [lost] = read(tmp_path, label)
    assert (lost.item, lost.reason) == (NAME, "unlabeled")
    assert lost.detail == ("no label file" if label is None else "an empty label file")


@pytest.mark.parametrize("label", ["\ufeff" + ONE, ONE.replace("\n", "\r\n"), f"\n{ONE}\n\n", "0.0" + ONE[1:]])
def test_label_files_as_other_tools_write_them(tmp_path: Path, label: str) -> None:
    [record] = read(tmp_path, label)
    assert record.boxes[0].to_xyxy(391, 320) == pytest.approx(ONE_BOX)


@pytest.mark.parametrize(
    ("names", "category"),
    [
        ("names: ['Tas_Var']", "kidney stone"),
        ("nc: 1\nnames: {0: Tas_Var}", "kidney stone"),
        ("names:\n  '0': tas_var\n  '3': Other", "kidney stone"),
        ("names: [Kidney_Cyst]", "kidney cyst"),
    ],
)
def test_names_of_the_classes(tmp_path: Path, names: str, category: str) -> None:
    [record] = read(tmp_path, names=names)
    assert record.category == category


@pytest.mark.parametrize("name", [r'"a\0b"', r'"\uD800"'])
def test_a_name_that_no_file_can_hold_is_malformed(tmp_path: Path, name: str) -> None:
    [lost] = read(tmp_path, names=f"names: [{name}]")
    assert (lost.item, lost.reason) == (f"{NAME} line 1", "malformed") and lost.detail.isprintable()


@pytest.mark.parametrize("name", ["''", "'_'"])
def test_a_class_without_a_name_labels_nothing(tmp_path: Path, name: str) -> None:
    [lost] = read(tmp_path, names=f"names: [{name}]")
    assert (lost.item, lost.reason) == (f"{NAME} line 1", "unlabeled")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("", "empty"),
        ("nc: 1", "no names"),
        ("names: []", "no names"),
        ("names: Tas_Var", "no names"),
        ("[1, 2]", "no names"),
        ("names: [1]", "a name in quotes is expected, found int with int"),
        ("names: [yes]", "found int with bool"),
        ("names: {a: b}", "an index with a name in quotes is expected, found str"),
        ("names: {true: b}", "found bool with str"),
        ("names: {-1: b}", "an index with a name"),
        ("nc: 2\nnames: ['Tas_Var']", "nc is not the number of names, which is 1"),
        ("names: ['Tas_Var'", "not YAML"),
        ("names: [\0]", "not YAML"),
        ("names: !!python/object/apply:os.getcwd []", "not YAML"),
        ("names: " + "[" * 2_000, "not YAML"),
        ("a: &a [x, x]\n" + "b: &b [*a, *a]\nnames: [*b]", "found int with list"),
    ],
)
def test_a_wrong_data_yaml_is_told_in_one_line(tmp_path: Path, names: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        read(tmp_path, names=names)
    assert "data.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_places_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*data\.yaml"):
        list(KidneyStoneSource(tmp_path).read({}))
    (tmp_path / "data.yaml").write_text(DATA_YAML, encoding="utf-8")
    with pytest.raises(InputError, match="no train/images, valid/images or test/images"):
        list(KidneyStoneSource(tmp_path).read({}))


def test_label_files_outside_the_root_or_no_files_are_not_read(tmp_path: Path) -> None:
    secret, root = tmp_path / "secret.txt", tmp_path / "root"
    secret.write_text(ONE, encoding="utf-8")
    root.mkdir()
    (root / "data.yaml").write_text(DATA_YAML, encoding="utf-8")
    for gray, name in enumerate(["link", "loop", "pipe", "folder"]):
        add(root, f"train/{name}.jpg", gray, None)
    labels = root / "train/labels"
    (labels / "link.txt").symlink_to(secret)
    (labels / "loop.txt").symlink_to(labels / "loop.txt")
    os.mkfifo(labels / "pipe.txt")
    (labels / "folder.txt").mkdir()
    dropped = {d.item: d.reason for d in KidneyStoneSource(root).read({}) if isinstance(d, Dropped)}
    assert dropped == {
        "train/link.jpg": "malformed",
        "train/loop.jpg": "unreadable",
        "train/pipe.jpg": "unreadable",
        "train/folder.jpg": "unreadable",
    }


def test_file_names_that_are_not_utf_8_are_malformed(tmp_path: Path) -> None:
    (tmp_path / "train/images").mkdir(parents=True)
    (tmp_path / "train/labels").mkdir()
    for folder, suffix in (("images", b"jpg"), ("labels", b"txt")):
        with open(os.path.join(os.fsencode(tmp_path / "train" / folder), b"caf\xe9." + suffix), "wb"):
            pass
    lost, kept = read(tmp_path)
    assert (lost.reason, kept.id) == ("malformed", f"kidney_stone/{NAME}")
    assert lost.item.isprintable() and "caf" in lost.item


def test_names_with_umlauts_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(DATA_YAML, encoding="utf-8")
    add(tmp_path, "train/Übersicht 1.jpg", 10, ONE)
    [record] = KidneyStoneSource(tmp_path).read({})
    assert isinstance(record, Record) and record.id == "kidney_stone/train/Übersicht 1.jpg"
