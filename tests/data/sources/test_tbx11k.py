"""TBX11K: which files are read, splits, controls, and the simplified copy."""

import json
from pathlib import Path
from typing import Any

import pytest
from disk_examples.sources.tbx11k import write_example
from items import boxes, draw, lost
from items import records as records_of

from umed.data.sources.base import Item
from umed.data.sources.tbx11k import Tbx11kSource
from umed.errors import InputError
from umed.records import Dropped, Record

NAMES = {1: "ActiveTuberculosis", 2: "ObsoletePulmonaryTuberculosis", 3: "PulmonaryTuberculosis"}
BBOX = [1, 2, 3, 4]
TRAIN = "annotations/json/TBX11K_train.json"


def film(root: Path, name: str) -> None:
    draw(root / name, sum(name.encode()), (16, 16))


def coco(root: Path, name: str, files: list[str], boxes: list[dict[str, Any]], **names: str) -> None:
    """`boxes` without their ids; `image_id` counts from 1."""
    folder = root / "annotations/json"
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [{"id": k, "name": names.get(f"name_{k}", name)} for k, name in NAMES.items()]
    for file in files:
        film(root / "imgs", file)
    images = [{"id": k, "file_name": file, "width": 16, "height": 16} for k, file in enumerate(files, 1)]
    entries = [{"id": k, **box} for k, box in enumerate(boxes, 1)]
    (folder / f"{name}.json").write_text(json.dumps({"images": images, "annotations": entries, "categories": kinds}))


def box(image: int = 1, category: int = 1, bbox: Any = BBOX) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": bbox}


def read(root: Path) -> list[Item]:
    return list(Tbx11kSource(root).read({}))


def records(root: Path) -> dict[str, Record]:
    return records_of(read(root))


def change(root: Path, part: str, entries: Any) -> None:
    """Replace a part of the training file."""
    content = json.loads((root / TRAIN).read_text())
    (root / TRAIN).write_text(json.dumps({**content, part: entries}))


def test_the_example_in_words(tmp_path: Path) -> None:
    write_example(tmp_path)
    found = records(tmp_path)
    assert {k: r.category for k, r in found.items() if r.boxes} == {
        "tb/tb0005.png": "active tuberculosis",
        "tb/tb0007.png": "latent tuberculosis",
        "tb/tb0300.png#1": "pulmonary tuberculosis",
        "tb/tb0300.png#2": "active tuberculosis",
    }
    assert [k for k, r in found.items() if not r.boxes] == [f"health/h000{n}.png" for n in (1, 2, 3)]
    assert {k: r.official_split for k, r in found.items()} == {
        "tb/tb0005.png": "train",
        "tb/tb0007.png": "train",
        "tb/tb0300.png#1": "val",
        "tb/tb0300.png#2": "val",
        "health/h0001.png": "train",
        "health/h0002.png": "val",
        "health/h0003.png": "",
    }
    assert all(r.modality == "X-ray" and r.group == r.image.removeprefix("imgs/") for r in found.values())
    told = {(d.item, d.reason): d.detail for d in read(tmp_path) if isinstance(d, Dropped)}
    assert told["test/t0002.png", "unlabeled"] == "labels are withheld"
    assert told["sick/s0001.png", "unlabeled"] == "sick but not tuberculosis"
    assert told["health/h0001.png", "unlabeled"] == "healthy"
    assert told["tb/tb0005.png", "duplicate"] == "listed again in TBX11K_val.json"
    assert told["extra/e0001.png", "unlabeled"] == "of another data set"


def test_which_files_are_read(tmp_path: Path) -> None:
    cases = {
        ("TBX11K_train", "TBX11K_trainval", "all_train"): ["TBX11K_trainval"],
        ("TBX11K_train", "TBX11K_val", "TBX11K_trainval"): ["TBX11K_train", "TBX11K_val"],
        ("TBX11K_trainval", "all_val"): ["TBX11K_trainval"],
        ("all_val", "all_trainval"): ["all_trainval"],
        ("TBX11K_val",): ["TBX11K_val"],
        ("all_trainval", "TBX11K_trainval_only_tb"): ["all_trainval"],
        ("TBX11K_trainval_only_tb", "all_test"): ["TBX11K_trainval_only_tb"],
    }
    for number, (present, used) in enumerate(cases.items()):
        root = tmp_path / str(number)
        for k, name in enumerate(present):
            coco(root, name, [f"extra/{k}.png"], [box()])
        assert list(records(root)) == [f"extra/{present.index(name)}.png" for name in used]


def test_the_split_of_a_joint_file_comes_from_the_lists(tmp_path: Path) -> None:
    coco(tmp_path, "TBX11K_trainval", ["tb/a.png", "tb/b.png", "tb/c.png"], [box(1), box(2), box(3)])
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/TBX11K_train.txt").write_text("tb/a.png\r\n")
    (tmp_path / "lists/TBX11K_val.txt").write_text("\ntb/b.png\n")
    (tmp_path / "lists/all_train.txt").write_text("tb/b.png\ntb/c.png")
    assert [r.official_split for r in records(tmp_path).values()] == ["train", "val", "train"]


def test_withheld_films_are_named_once(tmp_path: Path) -> None:
    coco(tmp_path, "TBX11K_train", ["tb/a.png"], [box()])
    film(tmp_path / "imgs", "test/on_disk.png")
    withheld = [("test/on_disk.png", "unlabeled")]
    assert [(d.item, d.reason) for d in read(tmp_path) if isinstance(d, Dropped)] == withheld
    (tmp_path / "annotations/json/all_test.json").write_text('{"images": [{"file_name": "test/j.png"}, 3]}')
    assert [d.item for d in read(tmp_path) if isinstance(d, Dropped)] == ["test/j.png", "test/on_disk.png"]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/TBX11K_test.txt").write_text("test/l.png\ntest/l.png\ntest/m.png\n")
    found = [d.item for d in read(tmp_path) if isinstance(d, Dropped)]
    assert found == ["test/l.png", "test/m.png", "test/j.png", "test/on_disk.png"]


def test_a_wrong_annotation_is_malformed(tmp_path: Path) -> None:
    wrong: list[Any] = [box(image) for image in (99, "1", [])] + [box(category=9), box(category=None)]  # type: ignore[arg-type]
    wrong += [box(bbox=[1, 2, 3])] + [box(bbox=[1, 2, odd, 4]) for odd in ("4", None, float("inf"), 10**400, True)]
    wrong += [box(bbox="1 2 3 4"), box(bbox={"x": 1}), {}]
    coco(tmp_path, "TBX11K_train", ["tb/a.png"], [box(), *wrong])
    items = read(tmp_path)
    assert boxes(items) == {"tb/a.png": [(1, 2, 4, 6)]}
    told = {item.rpartition(" ")[2]: reason for item, reason in lost(items).items()}
    assert told == {str(position): "malformed" for position in range(1, len(wrong) + 1)}


def test_a_healthy_film_with_a_wrong_annotation_is_no_control(tmp_path: Path) -> None:
    coco(tmp_path, "TBX11K_train", ["health/a.png"], [box(category=9)])
    assert [type(i) for i in read(tmp_path)] == [Dropped]


def test_a_box_of_two_images_is_of_neither(tmp_path: Path) -> None:
    coco(tmp_path, "TBX11K_train", ["tb/a.png", "tb/b.png", "tb/c.png"], [box(1), box(3)])
    images = json.loads((tmp_path / TRAIN).read_text())["images"]
    images[1]["id"] = 1
    change(tmp_path, "images", images)
    items = read(tmp_path)
    assert list(records_of(items)) == ["tb/c.png"] and set(lost(items).values()) == {"malformed", "unlabeled"}


def test_a_wrong_image_is_malformed(tmp_path: Path) -> None:
    coco(tmp_path, "TBX11K_train", ["tb/a.png"], [box()])
    images = json.loads((tmp_path / TRAIN).read_text())["images"]
    wrong = [3, {}, {"id": "1", "file_name": "a.png"}, {"id": 2}, {"id": 7, "file_name": "\ud800"}]
    change(tmp_path, "images", images + wrong)
    items = read(tmp_path)
    assert lost(items) == {f"TBX11K_train.json images {k}": "malformed" for k in range(1, 1 + len(wrong))}
    assert list(records_of(items)) == ["tb/a.png"]


def test_boxes_are_in_the_frame_of_the_file(tmp_path: Path) -> None:
    coco(tmp_path, "TBX11K_train", ["tb/a.png"], [box()])
    [image] = json.loads((tmp_path / TRAIN).read_text())["images"]
    for side in (512, 32):
        change(tmp_path, "images", [{**image, "width": side, "height": side}])
        assert boxes(read(tmp_path)) == {"tb/a.png": [tuple(v * 16 / side for v in (1, 2, 4, 6))]}
    for width in (32, None, "wide", 0, -16):
        change(tmp_path, "images", [{**image, "width": width}])
        assert lost(read(tmp_path)) == {"tb/a.png TBX11K_train.json annotations 0": "malformed"}


def test_categories_go_by_their_name(tmp_path: Path) -> None:
    coco(tmp_path, "TBX11K_train", ["tb/a.png"], [box()], name_1="Latent_Tuberculosis")
    assert records(tmp_path)["tb/a.png"].category == "latent tuberculosis"
    coco(tmp_path, "TBX11K_train", ["tb/a.png"], [box()], name_1="Some_Other")
    assert records(tmp_path)["tb/a.png"].category == "some other"


def test_paths_that_climb_out(tmp_path: Path) -> None:
    film(tmp_path, "secret.png")
    coco(tmp_path / "root", "TBX11K_train", [], [])
    content = {"images": [{"id": 1, "file_name": "../../secret.png"}], "annotations": [box()]}
    categories = [{"id": 1, "name": "ActiveTuberculosis"}]
    path = tmp_path / "root/annotations/json/TBX11K_train.json"
    path.write_text(json.dumps({**content, "categories": categories}))
    [lost] = read(tmp_path / "root")
    assert isinstance(lost, Dropped) and (lost.item, lost.reason) == ("../../secret.png", "malformed")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no TBX11K_train\.json .* no data\.csv"):
        read(tmp_path)
    coco(tmp_path, "TBX11K_train", ["tb/a.png"], [box()])
    path = tmp_path / "annotations/json/TBX11K_train.json"
    path.write_text('{"images": [], "annotations": {}}')
    with pytest.raises(InputError, match=r"TBX11K_train\.json: no list `annotations`"):
        read(tmp_path)


KAGGLE = "fname,image_height,image_width,source,bbox,target,tb_type,image_type"


def test_the_simplified_copy(tmp_path: Path) -> None:
    one, two = (str({"xmin": 1, "ymin": 2.0, "width": width, "height": 4}) for width in (3, 6))
    rows = [
        f'a.png,16,16,train,"{one}",tb,active_tb,tb',
        "h.png,16,16,val,none,no_tb,none,healthy",
        "s.png,16,16,train,none,no_tb,none,sick_but_no_tb",
        "t.png,16,16,test,none,no_tb,none,healthy",
        f'b.png,32,32,val,"{one}",tb,latent_tb,tb',
        f'a.png,16,16,train,"{two}",tb,active_tb,tb',
        f'c.png,16,16,train,"{one}",tb,none,tb',
        "short.png,16",
    ]
    wrong = [
        "{'xmin': 1}",
        "[1, 2, 3, 4]",
        "__import__('os')",
        "{",
        "{'xmin': nan}",
        one.replace("3", "'3'"),
        "(" * 250,
    ]
    rows += [f'd.png,16,16,train,"{text}",tb,active_tb,tb' for text in wrong]
    (tmp_path / "data.csv").write_text("\n".join([KAGGLE, *rows]) + "\n")
    for name in "ahstbcd":
        film(tmp_path / "images", f"{name}.png")
    found = records(tmp_path)
    assert {k: r.to_json()["boxes"] for k, r in found.items()} == {
        "a.png": [[1, 2, 4, 6], [1, 2, 7, 6]],
        "b.png": [[0.5, 1, 2, 3]],
        "h.png": [],
    }
    assert found["a.png"].category == "active tuberculosis" and found["a.png"].official_split == "train"
    assert found["b.png"].category == "latent tuberculosis" and found["h.png"].official_split == "val"
    told = {d.item: (d.reason, d.detail) for d in read(tmp_path) if isinstance(d, Dropped)}
    assert {item: reason for item, (reason, _) in told.items()} == {
        **dict.fromkeys(("h.png", "s.png", "t.png", "c.png row 8"), "unlabeled"),
        **dict.fromkeys(["data.csv row 9", *(f"d.png row {10 + k}" for k in range(len(wrong)))], "malformed"),
    }
    assert told["t.png"][1] == "labels are withheld"


def test_the_simplified_copy_without_its_columns(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("fname,bbox\na.png,none\n")
    with pytest.raises(InputError, match=r"data\.csv: no column image_height, image_width, source, tb_type"):
        read(tmp_path)
