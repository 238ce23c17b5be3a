"""COCO: boxes in pixels of the file, and every defect names its entry."""

import copy
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from items import annotation, boxes, lost, read_coco, records
from items import draw as picture

from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.records import Dropped, Record


def test_a_box_becomes_a_record_in_pixels_of_the_file(tmp_path: Path, coco: dict[str, Any]) -> None:
    [record] = read_coco(tmp_path, coco, modality="CT", name="mine")
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
    tumor, cyst = read_coco(tmp_path, coco)
    assert isinstance(tumor, Record) and isinstance(cyst, Record)
    assert (tumor.id, cyst.id) == ("folder/a/one.png#1", "folder/a/one.png#2")
    assert (len(tumor.boxes), len(cyst.boxes)) == (2, 1)
    assert (tumor.category, cyst.category) == ("lung tumor", "cyst")
    assert [raw["id"] for raw in tumor.provenance["raw"]] == [10, 12] and tumor.group == cyst.group


def test_what_gives_no_record_is_told(tmp_path: Path, coco: dict[str, Any]) -> None:
    picture(tmp_path / "a/copy.png")
    picture(tmp_path / "a/cut.png", seed=2, size=(200, 200))
    (tmp_path / "a/cut.png").write_bytes((tmp_path / "a/cut.png").read_bytes()[:5000])
    (tmp_path / "a/text.png").write_text("no picture")
    picture(tmp_path / "a/healthy.png", seed=3)
    for number, name in enumerate(["copy", "cut", "text", "gone", "healthy"], 2):
        coco["images"].append({"id": number, "file_name": f"a/{name}.png"})
    coco["annotations"] += [
        *(annotation(10 * number, [1, 1, 3, 3], image=number) for number in (2, 3, 4, 5)),
        annotation(21, [1, 1, 3, 3], iscrowd=1),
        annotation(22, [5, 5, 0, 3]),
        annotation(28, [5, 5, -2, 3]),
        annotation(23, [40, 5, 1, 3]),
        annotation(24, [float("nan"), 5, 1, 3]),
        annotation(25, [0.5, 5, -(10**400), 3]),
        annotation(26, [-(10**400), 5, 1, 3]),
        annotation(27, [0, 5, 10**400, 3]),
    ]
    items = read_coco(tmp_path, coco)
    assert {i.item: i.reason for i in items if isinstance(i, Dropped)} == {
        "a/copy.png": "duplicate",
        "a/healthy.png": "unlabeled",
        "a/cut.png": "unreadable",
        "a/text.png": "unreadable",
        "a/gone.png": "missing_file",
        "a/one.png annotation 21": "malformed",
        "a/one.png annotation 22": "out_of_frame",
        "a/one.png annotation 23": "out_of_frame",
        "a/one.png annotation 28": "out_of_frame",
        **{f"a/one.png annotation {number}": "malformed" for number in (24, 25, 26, 27)},
    }
    assert [i.id for i in items if isinstance(i, Record)] == ["folder/a/one.png"], "no box is not said to be normal"


def test_a_pixel_over_the_border_is_clipped_more_is_refused(tmp_path: Path, coco: dict[str, Any]) -> None:
    coco["annotations"] = [annotation(1, [-1, -0.5, 42, 21.5])]
    [record] = read_coco(tmp_path, coco)
    assert isinstance(record, Record)
    assert record.to_json()["boxes"] == [[0, 0, 40, 20]]
    for bbox in ([-1.1, 0, 5, 5], [0, -2, 5, 5], [30, 0, 11.1, 5], [0, 10, 5, 11.5], [400, 400, 10, 10]):
        coco["annotations"] = [annotation(77, bbox)]
        with pytest.raises(InputError, match=r"annotation id 77: .*beyond its picture of 40x20"):
            read_coco(tmp_path, coco)


def test_boxes_are_of_the_stated_size(tmp_path: Path, coco: dict[str, Any]) -> None:
    stated = {(80, 40): (2, 2.5, 6, 7.5), (0, 0): (4, 5, 12, 15), (None, 20.0): (4, 5, 12, 15)}
    for (width, height), corners in stated.items():  # 0: as some exporters write it
        coco["images"][0] |= {"width": width, "height": height}
        assert boxes(read_coco(tmp_path, coco)) == {"a/one.png": [corners]}
    for width, height in ((80, 42), (20, 40), (None, 40), (-40, -20), (float("nan"), 20)):
        coco["images"][0] |= {"width": width, "height": height}
        assert lost(read_coco(tmp_path, coco)) == {"a/one.png annotation 10": "malformed"}


AROUND = (25 - 10 / 2**0.5, 10 - 10 / 2**0.5, 25 + 10 / 2**0.5, 10 + 10 / 2**0.5)  # 14 x 6 turned by 45 degrees
POLYGON = [20, 4, 30, 6, 28, 16, 18, 14]


@pytest.mark.parametrize(
    ("rotation", "more", "wanted"),
    [
        *((degrees, {}, (18, 7, 32, 13)) for degrees in (0, 180.0, 360, -360, "0.0", "", None)),
        *((degrees, {}, (22, 3, 28, 17)) for degrees in (90.0, -90, 270, 450, "90", " 90.0 ")),
        *((degrees, {}, AROUND) for degrees in (45, 135, -45, 315)),
        *((degrees, {}, None) for degrees in ("north", float("nan"), float("inf"), True, [90], 10**400)),
        *((90, {"segmentation": parts}, (18, 4, 30, 16)) for parts in ([POLYGON], POLYGON, [POLYGON, [20, 5, 21, 6]])),
        (90, {"segmentation": [[18, 7, 32, 7, 32, 13.01, 18, 13]]}, (22, 3, 28, 17)),
        (90, {"segmentation": {"counts": "x", "size": [20, 40]}}, (18, 7, 32, 13)),
        *((90, {"segmentation": odd}, None) for odd in ([[1, 2, 3]], [["a", 1]], [[None, 1]], [3])),
        *((90, {"segmentation": none}, (22, 3, 28, 17)) for none in ([], [[]], None, "none")),
        (90, {"bbox": [26, 4, 14, 12]}, (27, 3, 39, 17)),
        (90, {"bbox": [30, 4, 14, 12]}, (31, 3, 40, 17)),
        (90, {"bbox": [-90, 4, 14, 12]}, "out_of_frame"),
        (10, {"bbox": [38, 4, 40, 12]}, "out_of_frame"),
        (30, {"bbox": [18, 7, -14, 6]}, "out_of_frame"),
        (0, {"rotation": 360}, (18, 7, 32, 13)),
        (None, {"rotation": 180}, None),
    ],
)
def test_a_turned_box_is_the_one_around_it(
    tmp_path: Path, coco: dict[str, Any], rotation: Any, more: dict[str, Any], wanted: Any
) -> None:
    attributes = {"occluded": False, "rotation": rotation}
    coco["annotations"] = [{**annotation(1, [18, 7, 14, 6], attributes=attributes), **more}]
    items = read_coco(tmp_path, coco)
    if isinstance(wanted, tuple):
        assert boxes(items) == {"a/one.png": [wanted]}
    else:
        assert lost(items) == {"a/one.png annotation 1": wanted or "malformed"}


def test_a_category_without_a_name_labels_nothing(tmp_path: Path, coco: dict[str, Any]) -> None:
    for name in ("", " ", "_", " __ "):
        coco["categories"][0]["name"] = name
        coco["annotations"] = [annotation(10, [4, 5, 8, 10]), annotation(11, [1, 1, 2, 2], category=9)]
        items = read_coco(tmp_path, coco)
        assert lost(items) == {"a/one.png annotation 10": "unlabeled"}
        assert [r.category for r in records(items).values()] == ["cyst"]
        del coco["annotations"][1]
        assert [type(i) for i in read_coco(tmp_path, coco)] == [Dropped]


def test_a_name_that_no_file_can_have_is_missing(tmp_path: Path, coco: dict[str, Any]) -> None:
    for name in ("a" * 300 + ".png", "a/" * 3000 + "one.png", "a/one.png/x"):
        coco["images"][0]["file_name"] = name
        assert lost(read_coco(tmp_path, coco)) == {name: "missing_file"}


NO_LIST = (..., None, {}, "x", 3)
WRONG = {  # of an entry of each part, or the entry itself
    "images.id": (..., True, None, [1], math.nan),
    "images.file_name": (..., 3, "", " ", "a\0.png", "\ud800.png", "\udcff.png"),
    "images.group": (["p1"], "\ud800", math.inf),
    "images.modality": ({},),
    "images": (None, "a", []),
    "annotations.bbox": (
        *(..., None, [], {}, "1 2 3 4", "wide", "\ud800", {"x": 1, "y": 2, "width": 3, "height": 4}, [[1, 2, 3, 4]]),
        *([1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, None], [1, 2, 3, []], [True] * 4, [1, 2, 3, math.nan]),
    ),
    "annotations.segmentation": ([[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [["a"] * 6], {"counts": "x"}),
    "annotations.image_id": (..., 8, [], None, True, 1.5),
    "annotations.category_id": (..., 8, {}, None, math.nan),
    "annotations.id": (True, [], "\ud800"),
    "annotations": (None, 7, "x", []),
    "categories.name": (..., None, 4, "\ud800"),
    "categories.id": (..., None),
}


def test_a_wrong_entry_is_dropped_alone(tmp_path: Path, coco: dict[str, Any]) -> None:
    """One value of a second picture is another one each time; `...` removes it. The first picture stays."""
    picture(tmp_path / "a/two.png", 1)
    coco["images"].insert(0, {"id": 2, "file_name": "a/two.png"})
    coco["annotations"].insert(0, annotation(20, [1, 2, 3, 4], image=2, category=9))
    coco["categories"].reverse()  # category 9 is first too
    for path, values in WRONG.items():
        part, _, key = path.partition(".")
        for value in values:
            wrong = copy.deepcopy(coco)
            holder, place = (wrong[part][0], key) if key else (wrong[part], 0)
            if key == "segmentation":
                wrong["annotations"][0]["bbox"] = []
            if value is ...:
                del holder[place]
            else:
                holder[place] = value
            items = read_coco(tmp_path, wrong)
            assert boxes(items) == {"a/one.png": [(4, 5, 12, 15)]}, (path, value)
            told = [i for i in items if isinstance(i, Dropped) and i.reason == "malformed"]
            assert told and all("annotations.json" in i.detail and i.detail.isprintable() for i in told), (path, value)
            assert {i.reason for i in items if isinstance(i, Dropped)} <= {"malformed", "unlabeled"}


def test_a_size_that_is_none_is_dropped_alone(tmp_path: Path, coco: dict[str, Any]) -> None:
    picture(tmp_path / "a/two.png", 1)
    coco["images"].append({"id": 2, "file_name": "a/two.png"})
    coco["annotations"].append(annotation(20, [1, 2, 3, 4], image=2))
    for width in (math.nan, "wide", [40], {"a": 1}, True):
        coco["images"][1]["width"] = width
        items = read_coco(tmp_path, coco)
        assert boxes(items) == {"a/one.png": [(4, 5, 12, 15)]}
        assert lost(items) == {"a/two.png annotation 20": "malformed"}


def test_what_is_no_coco_is_refused(tmp_path: Path, coco: dict[str, Any]) -> None:
    for part in ("images", "annotations", "categories"):
        for value in NO_LIST:
            wrong = {name: entries for name, entries in coco.items() if name != part or value is not ...}
            with pytest.raises(InputError, match=rf"annotations\.json: no list `{part}`"):
                read_coco(tmp_path, wrong if value is ... else {**wrong, part: value})
    twice = {"images": [{"id": 1, "file_name": "a/two.png"}], "categories": [{"id": "5", "name": "x"}]}
    for part, entries in {**twice, "images size": [{"id": 1, "file_name": "a/one.png", "width": 4}]}.items():
        name = part.split()[0]
        with pytest.raises(InputError, match=f"{name}: id [15] occurs twice, for different {name}"):
            read_coco(tmp_path, {**coco, name: coco[name] + entries})


def test_ids_and_numbers_in_other_forms(tmp_path: Path, coco: dict[str, Any]) -> None:
    forms: list[dict[str, Any]] = [
        *({"image_id": number, "category_id": category} for number, category in ((1.0, 5.0), ("1", "5"), (1, "5"))),
        *({"bbox": cells} for cells in (["4", " 5 ", "8.0", "1e1"], [4.0, 5, 8, "10"])),
        *({"bbox": none, "segmentation": [[4, 5, 12, 5, 12, 9], [6, 8, 7, 15, 8, 9]]} for none in ([], None, {}, "")),
        {"bbox": [], "segmentation": [4, 5, 12, 5, 12, 15, 4, 15]},
        *({"id": number} for number in (None, 11.0, "x")),
    ]
    for form in forms:
        coco["annotations"] = [{**annotation(10, [4, 5, 8, 10]), **form}]
        assert boxes(read_coco(tmp_path, coco)) == {"a/one.png": [(4, 5, 12, 15)]}, form
    (tmp_path / "annotations.json").write_text("\ufeff" + json.dumps(coco), encoding="utf-8")
    assert boxes(FolderSource(str(tmp_path)).read({})) == {"a/one.png": [(4, 5, 12, 15)]}


def test_a_picture_that_is_listed_twice_is_one(tmp_path: Path, coco: dict[str, Any]) -> None:
    cyst = annotation(10, [1, 1, 2, 2], image=2, category=9)
    for name in ("a/one.png", "./a/one.png", "a\\one.png", "A/one.PNG", "/data/a/one.png"):
        both = {**coco, "annotations": [*coco["annotations"], cyst]}
        both["images"] = [*coco["images"], {"id": 2, "file_name": name, "modality": "CT", "split": "val"}]
        items = read_coco(tmp_path, both)
        wanted = {"a/one.png#1": [(4, 5, 12, 15)], "a/one.png#2": [(1, 1, 3, 3)]}
        if name[0] in "A/":
            assert boxes(items) == {"a/one.png": wanted["a/one.png#1"]}, "it may be another picture"
            assert lost(items) == {name: "malformed" if name[0] == "/" else "missing_file"}
            continue
        assert boxes(items) == wanted and not lost(items), name
        assert {(r.modality, r.official_split) for r in records(items).values()} == {("CT", "val")}
    same_id = {**coco, "images": coco["images"] * 2}
    assert boxes(read_coco(tmp_path, same_id)) == {"a/one.png": [(4, 5, 12, 15)]}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"width": 40, "height": 20}, {"width": 80, "height": 40}),
        ({"width": 40}, {"width": 41}),
        ({"split": "train"}, {"split": "val"}),
        ({"group": 1}, {"group": 2}),
        ({"modality": "CT"}, {"modality": "MR"}),
    ],
)
def test_a_picture_that_is_listed_twice_at_odds_is_dropped(
    tmp_path: Path, coco: dict[str, Any], one: dict[str, Any], two: dict[str, Any]
) -> None:
    picture(tmp_path / "b/one.png", 1)
    pairs = (("a/one.png", one), ("a/one.png", two), ("b/one.png", one))
    coco["images"] = [{"id": k, "file_name": name, **more} for k, (name, more) in enumerate(pairs)]
    coco["annotations"] = [annotation(k, [k, 1, 3, 3], image=k) for k in range(3)]
    items = read_coco(tmp_path, coco)
    assert boxes(items) == {"b/one.png": [(2, 1, 5, 4)]}, "another folder, another picture"
    assert lost(items) == {"a/one.png": "malformed"}


def test_no_json_is_refused(tmp_path: Path) -> None:
    lines = '{"images": []}\n{"annotations": []}\n'
    for text in ("", "[1, 2]", "{", "\xff", "[" * 100_000, "9" * 5000, lines):
        (tmp_path / "annotations.json").write_text(text, encoding="latin-1")
        with pytest.raises(InputError, match=r"annotations\.json: "):
            list(FolderSource(str(tmp_path)).read({}))


@pytest.mark.parametrize("value", [0, 0.0, "0", "False", False, None])
def test_what_says_no_is_no_crowd(tmp_path: Path, coco: dict[str, Any], value: object) -> None:
    before = [item.boxes for item in records(read_coco(tmp_path, coco)).values()]
    for entry in coco["annotations"]:
        entry["iscrowd"] = value
    after = [item.boxes for item in records(read_coco(tmp_path, coco)).values()]
    assert after == before != []
