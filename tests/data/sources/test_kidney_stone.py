"""KidneyStone: a Roboflow export in, slices with their stones out."""

import os
from pathlib import Path

import pytest
from disk_examples.sources.kidney_stone import (
    DATA_YAML,
    NEIGHBOR,
    ONE,
    ONE_BOX,
    SLICE,
    UID,
    add,
    write_example,
)
from items import boxes, lost, records

from umed.data.prepare import gather
from umed.data.sources.base import Item, Picture
from umed.data.sources.kidney_stone import KidneyStoneSource
from umed.errors import InputError
from umed.records import Dropped, Record

NAME = "train/one.jpg"


def read(root: Path, label: str | None = ONE, names: str = DATA_YAML) -> list[Item]:
    """What reading one slice with this label file gives."""
    (root / "data.yaml").write_text(names, encoding="utf-8")
    add(root, NAME, 10, label)
    return list(KidneyStoneSource(root).read({}))


def test_the_example_in_words(tmp_path: Path) -> None:
    write_example(tmp_path)
    (tmp_path / "train/images/Thumbs.db").write_bytes(b"x")
    add(tmp_path, "train/whole.bmp", 99, ONE)  # no picture of the release is one
    (tmp_path / "train/images/.hidden").write_bytes(b"x")
    (tmp_path / "train/images/folder.jpg").mkdir()
    items = list(KidneyStoneSource(tmp_path).read({}))
    record = next(iter(records(items).values()))
    name = f"{SLICE}.rf.{'a' * 32}.jpg"
    assert (record.id, record.image) == (f"kidney_stone/train/{name}", f"train/images/{name}")
    assert (record.width, record.height, record.category, record.modality) == (391, 320, "kidney stone", "CT")
    assert (record.group, record.official_split, record.window) == (UID, "train", None)
    assert record.provenance["raw"] == [ONE.strip()]
    assert lost(items) == {
        f"train/{SLICE}.rf.{'c' * 32}.jpg": "duplicate",
        "train/empty.rf.0.jpg": "unlabeled",
        "train/none.jpg": "unlabeled",
        **{f"valid/lines.jpeg line {number}": "malformed" for number in (1, 2, 3, 4)},
        "valid/lines.jpeg line 7": "out_of_frame",  # line 6 is blank
        "valid/gone.txt": "missing_file",
        "test/cut.jpg": "unreadable",
        "test/notes.txt.jpg": "unreadable",
        "train/Thumbs.db": "unreadable",
        "train/whole.bmp": "unreadable",
        "train/folder.jpg": "unreadable",
    }
    told = {record.image for record in records(items).values()}
    told |= {item.split(" line")[0].replace("/", "/images/") for item in lost(items)}
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/images/[!.]*")}
    assert told == there | {"valid/images/gone.txt"}, "every file of the folders is accounted for"


def test_copies_and_neighbors_are_one_group(tmp_path: Path) -> None:
    groups = {
        f"{SLICE}.rf.{'a' * 32}.jpg": UID,
        f"{NEIGHBOR}.rf.{'b' * 32}.jpg": UID,
        "1-2-3-4.png": "1-2-3",
        "1-2-3-4_jpg.rf.0.jpg": "1-2-3",
        "1-2-3.rf.0.jpg": "1-2-3",  # too few parts for a UID
        "1-2-3-x.rf.0.jpg": "1-2-3-x",
        "1-2-3-4-x.rf.0.jpg": "1-2-3-4-x",
        "scan_12_png.rf.0.jpg": "scan_12_png",
        "scan.rf.1.rf.2.jpg": "scan.rf.1",
        "plain.jpeg": "plain",
        "Übersicht 1.jpg": "Übersicht 1",
    }
    (tmp_path / "data.yaml").write_text(DATA_YAML, encoding="utf-8")
    for file in groups:
        add(tmp_path, f"test/{file}", 10, ONE)
    listed = [item for item in KidneyStoneSource(tmp_path).list_pictures() if isinstance(item, Picture)]
    assert {picture.name.removeprefix("test/"): picture.group for picture in listed} == groups
    assert {picture.official_split for picture in listed} == {"test"}


def test_odd_lines_are_malformed_and_cost_themselves_only(tmp_path: Path) -> None:
    lines = [
        *("0", "0 0.5 0.5 0.5", "0 0.5 0.5 0.5 0.5 0.9", "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9", "0,0.5,0.5,0.5,0.5"),
        *(f"0 0.5 0.5 0.5 {odd}" for odd in ("1.01", "-0.1", "nan", "inf", "1e999", "0x1", "half", "0_1", "0.5\0")),
        *(f"{odd} 0.5 0.5 0.5 0.5" for odd in ("1", "-1", "0.5", "nan", "1e999", "Tas_Var")),
    ]
    items = read(tmp_path, "\n".join([*lines, ONE]))
    assert lost(items) == {f"{NAME} line {number}": "malformed" for number in range(1, len(lines) + 1)}
    assert all(item.detail.isprintable() for item in items if isinstance(item, Dropped))
    assert boxes(items) == {NAME: [ONE_BOX]}
    assert lost(read(tmp_path, "0 0.5\n")) == {f"{NAME} line 1": "malformed"}, "without a line left it is not unlabeled"


def test_label_files_as_other_tools_write_them(tmp_path: Path) -> None:
    for label in ("\ufeff" + ONE, ONE.replace("\n", "\r\n"), f"\n{ONE}\n\n", "0.0" + ONE[1:]):
        assert boxes(read(tmp_path, label)) == {NAME: [ONE_BOX]}
    for label in ("", "\n\n", "\ufeff \r\n"):
        item, control = read(tmp_path, label)
        assert isinstance(item, Dropped) and (item.reason, item.detail) == ("unlabeled", "an empty label file")
        assert isinstance(control, Record) and control.boxes == () and control.official_split == "train"
    (tmp_path / "train/labels/one.txt").unlink()
    [item] = read(tmp_path, None)
    assert isinstance(item, Dropped) and (item.item, item.detail) == (NAME, "no label file")


def test_names_of_the_classes(tmp_path: Path) -> None:
    categories = {
        "names: ['Tas_Var']": "kidney stone",
        "nc: 1\nnames: {0: Tas_Var}": "kidney stone",
        "names:\n  '0': tas_var\n  '3': Other": "kidney stone",
        "names: [Kidney_Cyst]": "kidney cyst",
    }
    for names, category in categories.items():
        assert records(read(tmp_path, names=names))[NAME].category == category
    reasons = {r'"a\0b"': "malformed", r'"\uD800"': "malformed", "''": "unlabeled", "'_'": "unlabeled"}
    for name, reason in reasons.items():
        [item] = read(tmp_path, names=f"names: [{name}]")
        assert isinstance(item, Dropped) and (item.item, item.reason) == (f"{NAME} line 1", reason)
        assert item.detail.isprintable()


def test_a_count_of_classes_that_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.yaml: nc is not the number of names, which is 1"):
        read(tmp_path, names="nc: 2\nnames: ['Tas_Var']")


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
    reasons = {"link": "malformed", "loop": "unreadable", "pipe": "unreadable", "folder": "unreadable"}
    expected = {f"train/{name}.jpg": reason for name, reason in reasons.items()}
    assert lost(KidneyStoneSource(root).read({})) == expected


def test_file_names_that_are_not_utf_8_are_malformed(tmp_path: Path) -> None:
    (tmp_path / "train/images").mkdir(parents=True)
    (tmp_path / "train/labels").mkdir()
    for folder, suffix in (("images", b"jpg"), ("labels", b"txt")):
        with open(os.path.join(os.fsencode(tmp_path / "train" / folder), b"caf\xe9." + suffix), "wb") as f:
            f.write(ONE.encode())
    dropped, kept = read(tmp_path)
    assert isinstance(dropped, Dropped) and isinstance(kept, Record)
    assert (dropped.reason, kept.id) == ("malformed", f"kidney_stone/{NAME}")
    assert dropped.item.isprintable() and "caf" in dropped.item


@pytest.mark.parametrize("normal_first", [True, False])
def test_a_slice_with_a_stone_is_not_lost_to_its_copy_without_one(tmp_path: Path, normal_first: bool) -> None:
    (tmp_path / "data.yaml").write_text(DATA_YAML, encoding="utf-8")
    for name, has_stone in (("train/a.png", not normal_first), ("valid/b.png", normal_first)):
        add(tmp_path, name, 10, ONE if has_stone else "")
    gathered = gather({"kidney_stone": KidneyStoneSource(tmp_path)}, 1, tmp_path / "dropped.jsonl")
    assert [r.image.rpartition("/")[2] for r in gathered.records] == ["b.png" if normal_first else "a.png"]
    assert gathered.controls == [] and gathered.dropped["kidney_stone"]["duplicate"] == 1
