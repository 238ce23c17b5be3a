"""Options of the `folder` source, whatever the format of its files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from items import annotation, read_coco
from items import draw as picture
from PIL import Image

from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.pictures import picture_of
from umed.records import Dropped, Record


def test_keys_of_an_image_win_over_the_options(tmp_path: Path, coco: dict[str, Any]) -> None:
    coco["images"][0] |= {"modality": "MR", "group": 0}
    [record] = read_coco(tmp_path, coco, modality="CT", group_regex="one")
    assert isinstance(record, Record)
    assert (record.modality, record.group) == ("MR", "0")


def test_group_regex(tmp_path: Path, coco: dict[str, Any]) -> None:
    [record] = read_coco(tmp_path, coco, group_regex=r"^(\w+)/")
    assert isinstance(record, Record) and record.group == "a"
    with pytest.raises(InputError, match=r"finds nothing in a/one\.png"):
        read_coco(tmp_path, coco, group_regex=r"patient(\d+)")


def test_more_than_8_bits_need_a_window(tmp_path: Path, coco: dict[str, Any]) -> None:
    coco["images"][0]["file_name"] = "deep.tiff"
    for kind in (np.uint16, np.int32, np.float32):
        Image.fromarray(np.full((20, 40), 33000, kind)).save(tmp_path / "deep.tiff")
        [dropped] = read_coco(tmp_path, coco)
        assert isinstance(dropped, Dropped) and dropped.reason == "unreadable" and "more than 8 bits" in dropped.detail
        [record] = read_coco(tmp_path, coco, window=[0, 464], offset=-32768)
        assert isinstance(record, Record) and record.window == (0, 464, -32768)
        assert picture_of(record, {"folder": tmp_path}).getpixel((3, 3)) == (128, 128, 128)


def test_a_rule_finds_the_window_of_each_picture_and_the_record_keeps_it(tmp_path: Path, coco: dict[str, Any]) -> None:
    coco["images"][0]["file_name"] = "deep.png"
    values = np.linspace(34_000, 46_000, 800).reshape(20, 40)
    for kind, window in ((np.uint16, (34_000, 46_000, 0)), (np.uint8, None)):
        Image.fromarray(values.astype(kind)).save(tmp_path / "deep.png")
        [record] = read_coco(tmp_path, coco, window="range")
        assert isinstance(record, Record) and record.window == window
        again = Record.from_json(record.to_json())
        assert picture_of(again, {"folder": tmp_path}).getextrema()[0] == (0, 255)
    with pytest.raises(InputError, match="folder: window=widest: range, percentile or"):
        FolderSource(str(tmp_path), window="widest")


def test_missing_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        list(FolderSource(str(tmp_path / "nowhere")).read({}))
    with pytest.raises(InputError, match=r"no file .*boxes\.json"):
        list(FolderSource(str(tmp_path), annotations="boxes.json").read({}))
    assert FolderSource(str(tmp_path), name="mine").roots == {"mine": tmp_path}


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"format": "pascal"}, "format=pascal: choose coco, yolo, voc, csv or masks"),
        ({"split": "theirs"}, "split=theirs: choose ours or own"),
        ({"group_regex": "("}, "no regular expression"),
        ({"format": "csv", "box": "yxyx"}, "box=yxyx: choose xyxy, xywh or voc"),
        ({"format": "coco", "box": "xyxy"}, "box=xyxy is for format=csv and format=voc"),
        ({"orientation": "upright"}, "orientation=upright: choose stored or shown"),
        ({"category": "cyst"}, "category=cyst is for format=masks"),
        ({"window": [5, 5]}, r"window=\[5, 5\]"),
        *(({"window": window}, "low < high") for window in ([1, 2, 3], ["a", 2], [0, float("inf")], 7)),
    ]
    for options, told in wrong:
        with pytest.raises(InputError, match=f"folder: .*{told}"):
            FolderSource(str(tmp_path), **options)


def test_own_splits(tmp_path: Path, coco: dict[str, Any]) -> None:
    picture(tmp_path / "a/two.png", seed=1)
    coco["images"].append({"id": 2, "file_name": "a/two.png", "split": "test"})
    coco["annotations"].append(annotation(11, [1, 1, 2, 2], image=2))
    coco["images"][0]["split"] = "Valid"
    one, two = read_coco(tmp_path, coco, split="own")
    assert isinstance(one, Record) and isinstance(two, Record)
    assert (one.split, two.split, one.official_split) == ("val", "test", "Valid")
    one, two = read_coco(tmp_path, coco)
    assert isinstance(one, Record) and (one.split, one.official_split) == ("", "Valid"), "ours are made later"
    for word, told in (("fold1", "has split fold1"), (None, "has no split")):
        coco["images"][0]["split"] = word
        with pytest.raises(InputError, match=rf"folder: a/one\.png {told}: split=own needs"):
            read_coco(tmp_path, coco, split="own")


def test_frames_of_endoscopy_are_one_group_and_their_patients_stay_whole(tmp_path: Path, coco: dict[str, Any]) -> None:
    coarse = np.random.default_rng(5).integers(0, 256, (6, 6, 3), np.uint8)
    frame = Image.fromarray(coarse).resize((96, 80), Image.Resampling.BICUBIC)
    for name, quality in (("p1_a", 95), ("p2_a", 60)):
        frame.save(tmp_path / f"{name}.jpg", quality=quality)
    for name, seed in (("p1_b", 8), ("p3_a", 9)):
        picture(tmp_path / f"{name}.jpg", seed, (96, 80))
    names = ["p1_a", "p2_a", "p1_b", "p3_a"]
    coco["images"] = [{"id": i, "file_name": f"{name}.jpg"} for i, name in enumerate(names)]
    coco["annotations"] = [annotation(i, [4, 5, 8, 10], image=i) for i in range(4)]
    for options, wanted in (({"modality": "CT"}, [1, 2, 1, 3]), ({"modality": "Endoscopy"}, [1, 1, 1, 3])):
        records = [r for r in read_coco(tmp_path, coco, group_regex=r"p(\d)", **options) if isinstance(r, Record)]
        assert [r.group for r in records] == [str(g) for g in wanted]
    records = [r for r in read_coco(tmp_path, coco, modality="CT", near=True) if isinstance(r, Record)]
    assert len({r.group for r in records}) == 3
