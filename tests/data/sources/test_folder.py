"""The `folder` source and its COCO format: records out, every defect told."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.pictures import picture_of
from umed.records import Dropped, Record


def picture(path: Path, width: int = 40, height: int = 20, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    Image.fromarray(noise).save(path)


def annotation(number: int, bbox: list[float], image: int = 1, category: int = 5, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **more}


@pytest.fixture
def coco(tmp_path: Path) -> dict[str, Any]:
    """One picture of 40x20, one box; category ids neither start at 0 nor are dense."""
    picture(tmp_path / "a/one.png")
    return {
        "images": [{"id": 1, "file_name": "a/one.png"}],
        "annotations": [annotation(10, [4, 5, 8, 10])],
        "categories": [{"id": 5, "name": " Lung_Tumor "}, {"id": 9, "name": "Cyst"}],
    }


def read(root: Path, coco: Any, **options: Any) -> list[Record | Dropped]:
    (root / "annotations.json").write_text(json.dumps(coco), encoding="utf-8")
    return list(FolderSource(str(root), **options).read({}))


def test_a_box_becomes_a_record_in_pixels_of_the_file(tmp_path: Path, coco: dict[str, Any]) -> None:
    [record] = read(tmp_path, coco, modality="CT", name="mine")
    assert isinstance(record, Record)
    assert record.to_json() == {
        **record.to_json(),
        "id": "mine/a/one.png",
        "source": "mine",
        "image": "a/one.png",
        "width": 40,
        "height": 20,
        "boxes": [[4, 5, 12, 15]],
        "category": "lung tumor",
        "modality": "CT",
        "group": "a/one.png",
    }
    assert record.provenance == {
        "sha256": hashlib.sha256((tmp_path / "a/one.png").read_bytes()).hexdigest(),
        "raw": [{"id": 10, "image_id": 1, "category_id": 5, "bbox": [4, 5, 8, 10]}],
    }


def test_one_record_per_category_with_all_its_boxes(tmp_path: Path, coco: dict[str, Any]) -> None:
    coco["annotations"] += [annotation(11, [1, 1, 2, 2], category=9), annotation(12, [20, 1, 5, 5])]
    tumor, cyst = read(tmp_path, coco)
    assert isinstance(tumor, Record) and isinstance(cyst, Record)
    assert (tumor.id, cyst.id) == ("folder/a/one.png#1", "folder/a/one.png#2")
    assert (len(tumor.boxes), len(cyst.boxes)) == (2, 1)
    assert (tumor.category, cyst.category) == ("lung tumor", "cyst")
    assert [raw["id"] for raw in tumor.provenance["raw"]] == [10, 12] and tumor.group == cyst.group


def test_keys_of_an_image_win_over_the_options(tmp_path: Path, coco: dict[str, Any]) -> None:
    coco["images"][0] |= {"modality": "MR", "group": 0}
    [record] = read(tmp_path, coco, modality="CT", group_regex="one")
    assert isinstance(record, Record)
    assert (record.modality, record.group) == ("MR", "0")


def test_group_regex(tmp_path: Path, coco: dict[str, Any]) -> None:
    [record] = read(tmp_path, coco, group_regex=r"^(\w+)/")
    assert isinstance(record, Record) and record.group == "a"
    with pytest.raises(InputError, match=r"finds nothing in a/one\.png"):
        read(tmp_path, coco, group_regex=r"patient(\d+)")


def test_what_gives_no_record_is_told(tmp_path: Path, coco: dict[str, Any]) -> None:
    picture(tmp_path / "a/copy.png")
    picture(tmp_path / "a/cut.png", 200, 200, seed=2)
    (tmp_path / "a/cut.png").write_bytes((tmp_path / "a/cut.png").read_bytes()[:5000])
    (tmp_path / "a/text.png").write_text("no picture")
    picture(tmp_path / "a/healthy.png", seed=3)
    for number, name in enumerate(["copy", "cut", "text", "gone", "healthy"], 2):
        coco["images"].append({"id": number, "file_name": f"a/{name}.png"})
    coco["annotations"] += [
        *(annotation(10 * number, [1, 1, 3, 3], image=number) for number in (2, 3, 4, 5)),
        annotation(21, [1, 1, 3, 3], iscrowd=1),
        annotation(22, [5, 5, 0, 3]),
        annotation(23, [40, 5, 1, 3]),
        annotation(24, [float("nan"), 5, 1, 3]),
        annotation(25, [0.5, 5, -(10**400), 3]),
        annotation(26, [-(10**400), 5, 1, 3]),
        annotation(27, [0, 5, 10**400, 3]),
    ]
    items = read(tmp_path, coco)
    assert {i.item: i.reason for i in items if isinstance(i, Dropped)} == {
        "a/copy.png": "duplicate",
        "a/healthy.png": "unlabeled",
        "a/cut.png": "unreadable",
        "a/text.png": "unreadable",
        "a/gone.png": "missing_file",
        "a/one.png annotation 21": "malformed",
        "a/one.png annotation 22": "out_of_frame",
        "a/one.png annotation 23": "out_of_frame",
        **{f"a/one.png annotation {number}": "malformed" for number in (24, 25, 26, 27)},
    }
    assert [i.id for i in items if isinstance(i, Record)] == ["folder/a/one.png"], "no box is not said to be normal"


def test_a_pixel_over_the_border_is_clipped_more_is_refused(tmp_path: Path, coco: dict[str, Any]) -> None:
    coco["annotations"] = [annotation(1, [-1, -0.5, 42, 21.5])]
    [record] = read(tmp_path, coco)
    assert isinstance(record, Record)
    assert record.to_json()["boxes"] == [[0, 0, 40, 20]]
    for bbox in ([-1.1, 0, 5, 5], [0, -2, 5, 5], [30, 0, 11.1, 5], [0, 10, 5, 11.5], [400, 400, 10, 10]):
        coco["annotations"] = [annotation(77, bbox)]
        with pytest.raises(InputError, match=r"annotation id 77: .*beyond its picture of 40x20"):
            read(tmp_path, coco)


def test_a_size_that_is_not_the_files_is_refused(tmp_path: Path, coco: dict[str, Any]) -> None:
    coco["images"][0] |= {"width": 80, "height": 40}
    with pytest.raises(InputError, match=r"a/one\.png is 40x20, not 80x40"):
        read(tmp_path, coco)
    coco["images"][0] |= {"width": 0, "height": 0}  # as some exporters write it
    assert len(read(tmp_path, coco)) == 1


@pytest.mark.parametrize(("key", "value"), [("width", "60"), ("height", [20]), ("width", {}), ("height", True)])
def test_a_size_of_the_wrong_type_is_told_as_that(tmp_path: Path, coco: dict[str, Any], key: str, value: Any) -> None:
    coco["images"][0][key] = value
    told = f"{key} is .*: int or float is expected, not {type(value).__name__}"
    with pytest.raises(InputError, match=rf"images\[0\]: {told}"):
        read(tmp_path, coco)


@pytest.mark.parametrize("name", ["", " ", "_", " __ "])
def test_a_category_without_a_name_labels_nothing(tmp_path: Path, coco: dict[str, Any], name: str) -> None:
    coco["categories"][0]["name"] = name
    coco["annotations"].append(annotation(11, [1, 1, 2, 2], category=9))
    lost, kept = read(tmp_path, coco)
    assert isinstance(lost, Dropped) and isinstance(kept, Record)
    assert (lost.item, lost.reason, kept.category) == ("a/one.png annotation 10", "unlabeled", "cyst")
    del coco["annotations"][1]
    assert [type(i) for i in read(tmp_path, coco)] == [Dropped]


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a/" * 3000 + "one.png", "a/one.png/x"])
def test_a_name_that_no_file_can_have_is_missing(tmp_path: Path, coco: dict[str, Any], name: str) -> None:
    coco["images"][0]["file_name"] = name
    [lost] = read(tmp_path, coco)
    assert isinstance(lost, Dropped) and (lost.item, lost.reason) == (name, "missing_file")


@pytest.mark.parametrize("depth", ["I;16", "I", "F"])
def test_more_than_8_bits_need_a_window(tmp_path: Path, coco: dict[str, Any], depth: str) -> None:
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[depth]
    Image.fromarray(np.full((20, 40), 33000, kind)).save(tmp_path / "deep.tiff")
    coco["images"][0]["file_name"] = "deep.tiff"
    [lost] = read(tmp_path, coco)
    assert isinstance(lost, Dropped) and lost.reason == "unreadable" and "more than 8 bits" in lost.detail
    [record] = read(tmp_path, coco, window=[0, 464], offset=-32768)
    assert isinstance(record, Record) and record.window == (0, 464, -32768)
    assert picture_of(record, {"folder": tmp_path}).getpixel((3, 3)) == (128, 128, 128)


def test_paths_out_of_the_root_are_dropped(tmp_path: Path, coco: dict[str, Any]) -> None:
    picture(tmp_path / "secret.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    picture(root / "inside.png")
    names = ("../secret.png", str(tmp_path / "secret.png"), str(root / "inside.png"), "link.png", "x/../../secret.png")
    for name in names:
        coco["images"][0]["file_name"] = name
        [lost] = read(root, coco)
        assert isinstance(lost, Dropped) and (lost.item, lost.reason) == (name, "malformed")
        assert "leads out of" in lost.detail


def broken(path: str, value: Any) -> Any:
    """A change of one value in the file; `...` removes it."""
    part, _, rest = path.partition(".")

    def change(coco: dict[str, Any]) -> None:
        if not rest and value is ...:
            del coco[part]
        elif not rest:
            coco[part] = value
        elif rest == "0":
            coco[part][0] = value
        elif value is ...:
            del coco[part][0][rest]
        else:
            coco[part][0][rest] = value

    return pytest.param(change, id=f"{path}={value!r}")


@pytest.mark.parametrize(
    "change",
    [
        *(
            broken(part, value)
            for part in ("images", "annotations", "categories")
            for value in (..., None, {}, "x", [3])
        ),
        broken("images.id", ...),
        broken("images.id", True),
        broken("images.id", 1.0),
        broken("images.file_name", 3),
        broken("images.file_name", "a\0.png"),
        broken("images.file_name", "\ud800.png"),
        broken("images.file_name", "\udcff.png"),
        broken("images.group", ["p1"]),
        broken("images.group", "\ud800"),
        broken("images.modality", {}),
        broken("images.0", None),
        broken("annotations.bbox", "1 2 3 4"),
        broken("annotations.bbox", [1, 2, 3]),
        broken("annotations.bbox", [1, 2, 3, "4"]),
        broken("annotations.bbox", [1, 2, 3, None]),
        broken("annotations.bbox", [1, 2, 3, []]),
        broken("annotations.bbox", [1, 2, {}, 4]),
        broken("annotations.bbox", {"x": 1}),
        broken("annotations.image_id", 8),
        broken("annotations.image_id", []),
        broken("annotations.category_id", 8),
        broken("annotations.category_id", ...),
        broken("categories.name", None),
        broken("categories.name", "\ud800"),
    ],
)
def test_what_is_no_coco_names_the_file_and_the_entry(tmp_path: Path, coco: dict[str, Any], change: Any) -> None:
    change(coco)
    with pytest.raises(InputError, match=r"annotations\.json: .*(images|annotations?|categories)") as caught:
        read(tmp_path, coco)
    assert "\n" not in str(caught.value)


def test_ids_that_occur_twice_are_refused(tmp_path: Path, coco: dict[str, Any]) -> None:
    coco["images"].append({"id": 1, "file_name": "a/two.png"})
    with pytest.raises(InputError, match=r"images\[1\]: id 1 occurs twice"):
        read(tmp_path, coco)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "\xff", "[" * 100_000, "9" * 5000])
def test_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "annotations.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"annotations\.json: "):
        list(FolderSource(str(tmp_path)).read({}))


def test_missing_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        list(FolderSource(str(tmp_path / "nowhere")).read({}))
    with pytest.raises(InputError, match=r"no file .*boxes\.json"):
        list(FolderSource(str(tmp_path), annotations="boxes.json").read({}))
    assert FolderSource(str(tmp_path), name="mine").roots == {"mine": tmp_path}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"format": "pascal"}, "format=pascal: choose coco, yolo, voc, csv or masks"),
        ({"split": "theirs"}, "split=theirs: choose ours or own"),
        ({"group_regex": "("}, "no regular expression"),
        ({"format": "csv", "box": "yxyx"}, "box=yxyx: choose xyxy, xywh or voc"),
        ({"format": "coco", "box": "xyxy"}, "box=xyxy is for format=csv and format=voc"),
        ({"category": "cyst"}, "category=cyst is for format=masks"),
        ({"window": [5, 5]}, r"window=\[5, 5\]"),
        ({"window": [1, 2, 3]}, "low < high"),
        ({"window": ["a", 2]}, "low < high"),
        ({"window": [0, float("inf")]}, "low < high"),
        ({"window": 7}, "low < high"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=f"folder: .*{told}"):
        FolderSource(str(tmp_path), **options)


def test_own_splits(tmp_path: Path, coco: dict[str, Any]) -> None:
    picture(tmp_path / "a/two.png", seed=1)
    coco["images"].append({"id": 2, "file_name": "a/two.png", "split": "test"})
    coco["annotations"].append(annotation(11, [1, 1, 2, 2], image=2))
    coco["images"][0]["split"] = "Valid"
    one, two = read(tmp_path, coco, split="own")
    assert isinstance(one, Record) and isinstance(two, Record)
    assert (one.split, two.split, one.official_split) == ("val", "test", "Valid")
    one, two = read(tmp_path, coco)
    assert isinstance(one, Record) and (one.split, one.official_split) == ("", "Valid"), "ours are made later"
    for word, told in (("fold1", "has split fold1"), (None, "has no split")):
        coco["images"][0]["split"] = word
        with pytest.raises(InputError, match=rf"folder: a/one\.png {told}: split=own needs"):
            read(tmp_path, coco, split="own")


def test_frames_of_endoscopy_are_one_group_and_their_patients_stay_whole(tmp_path: Path, coco: dict[str, Any]) -> None:
    coarse = np.random.default_rng(5).integers(0, 256, (6, 6, 3), np.uint8)
    frame = Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC)
    for name, quality in (("p1_a", 95), ("p2_a", 60)):
        frame.save(tmp_path / f"{name}.jpg", quality=quality)
    for name, seed in (("p1_b", 8), ("p3_a", 9)):
        picture(tmp_path / f"{name}.jpg", 96, 80, seed)
    names = ["p1_a", "p2_a", "p1_b", "p3_a"]
    coco["images"] = [{"id": i, "file_name": f"{name}.jpg"} for i, name in enumerate(names)]
    coco["annotations"] = [annotation(i, [4, 5, 8, 10], image=i) for i in range(4)]
    for options, wanted in (({"modality": "CT"}, [1, 2, 1, 3]), ({"modality": "Endoscopy"}, [1, 1, 1, 3])):
        records = [r for r in read(tmp_path, coco, group_regex=r"p(\d)", **options) if isinstance(r, Record)]
        assert [r.group for r in records] == [str(g) for g in wanted]
    records = [r for r in read(tmp_path, coco, modality="CT", near=True) if isinstance(r, Record)]
    assert len({r.group for r in records}) == 3
