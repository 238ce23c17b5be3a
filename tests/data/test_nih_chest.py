"""NIH ChestX-ray14: lists with broken headers in, films with their boxes out."""

import gzip
import importlib.util
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from umed.data.sources.base import Picture
from umed.data.sources.nih_chest import NihChestSource
from umed.errors import InputError
from umed.records import Dropped, Record
from umed.synthetic.examples.sources.nih_chest import ENTRIES, HEADER, QUOTED, RELEASED, film, write_example

NAME = "00000103_001.png"
GOOD = f"{NAME},Mass,10,20,30,40"


def listed(root: Path, *rows: str, header: str = HEADER, **options: Any) -> list[Picture | Dropped]:
    """What the source lists for these boxes; no film is there."""
    (root / "BBox_List_2017.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return list(NihChestSource(root, **options).list_pictures())


def only(items: list[Picture | Dropped]) -> Picture:
    [picture] = items
    assert isinstance(picture, Picture)
    return picture


def test_what_a_record_says(tmp_path: Path) -> None:
    write_example(tmp_path)
    found = {r.id: r for r in NihChestSource(tmp_path).read({}) if isinstance(r, Record)}
    one, two = found["nih_chest/00000032_037.png#1"], found["nih_chest/00000032_037.png#2"]
    assert (one.category, two.category) == ("infiltration", "nodule")
    assert one.image == two.image == "images_001/images/00000032_037.png"
    assert (one.group, one.modality, one.official_split) == ("00000032", "X-ray", "test")
    told = {"findings": "Infiltration|Nodule", "follow_up": "37", "age": 55, "sex": "F", "view": "AP"}
    assert one.provenance["raw"] == [
        {"row": ["00000032_037.png", "Infiltrate", "100.5", "200", "300", "400"], **told},
        {"row": ["00000032_037.png", "Infiltrate", "500", "200", "100", "100"], **told},
    ]
    assert found["nih_chest/00000102_001.png"].category == "hernia"
    assert found["nih_chest/00000072_000.png"].official_split == "train_val"
    assert found["nih_chest/00013118_008.png"].provenance["raw"][0]["findings"] == "Atelectasis|Mass"  # the later list


def test_films_without_a_box_are_not_listed(tmp_path: Path) -> None:
    write_example(tmp_path)
    items = [i for i in NihChestSource(tmp_path).read({}) if isinstance(i, Record | Dropped)]
    assert items and not [i for i in items if "00000099_000" in (i.id if isinstance(i, Record) else i.item)]


def test_what_is_dropped_is_named_by_its_row(tmp_path: Path) -> None:
    write_example(tmp_path)
    dropped = {d.item: d.reason for d in NihChestSource(tmp_path).read({}) if isinstance(d, Dropped)}
    assert dropped == {
        "00000103_001.png row 10": "malformed",
        "00000103_001.png row 11": "malformed",
        "00000104_001.png row 12": "out_of_frame",
        "00000105_001.png": "unreadable",
        "00000106_001.png": "missing_file",
        "00000107_001.png": "duplicate",
        "00000108_001.png row 16": "unlabeled",
    }


@pytest.mark.parametrize("header", [HEADER, QUOTED, HEADER.rstrip(","), "anything at all"])
@pytest.mark.parametrize("tail", ["", ",,,"])
@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n")])
def test_columns_are_read_by_position(tmp_path: Path, header: str, tail: str, encoding: str, end: str) -> None:
    lines = [header, RELEASED[0].rstrip(",") + tail, f"\"{NAME}\", 'Mass',10,20,30,40{tail}".replace("'", '"'), ""]
    (tmp_path / "BBox_List_2017.csv").write_text(end.join(lines), encoding=encoding, newline="")
    first, second = NihChestSource(tmp_path).list_pictures()
    assert isinstance(first, Picture) and isinstance(second, Picture)
    assert first.regions[0].box(1024, 1024).to_xyxy(1024, 1024) == pytest.approx(RELEASED[1])
    assert (second.name, second.regions[0].category) == (NAME, "mass")
    assert second.regions[0].box(1024, 1024).to_xyxy(1024, 1024) == pytest.approx((10, 20, 40, 60))


def test_without_a_header_no_box_is_lost_in_silence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"BBox_List_2017\.csv: no header"):
        listed(tmp_path, GOOD, header=RELEASED[0])


@pytest.mark.parametrize(
    "line",
    [
        NAME,
        f"{NAME},Mass,10,20,30",
        f"{NAME},Mass,10,20,30,",
        *(f"{NAME},Mass,10,20,30,{odd}" for odd in ("nan", "inf", "-inf", "1e999", "0x10", "ten", "1_0", "4\0")),
        "a.png,Mass,10,20,30,40",
        ",Mass,10,20,30,40",
        "../00000103_001.png,Mass,10,20,30,40",
        "/tmp/00000103_001.png,Mass,10,20,30,40",
        "00000103_001.png\0,Mass,10,20,30,40",
    ],
)
def test_odd_rows_are_malformed_and_cost_themselves_only(tmp_path: Path, line: str) -> None:
    lost, kept = listed(tmp_path, line, GOOD)
    assert isinstance(lost, Dropped) and isinstance(kept, Picture)
    assert (lost.reason, lost.item.split()[-2:]) == ("malformed", ["row", "2"]) and lost.item.isprintable()
    assert [region.where for region in kept.regions] == ["row 3"]


@pytest.mark.parametrize("box", ["10,20,0,40", "10,20,-30,40", "1024,20,30,40", "-30,20,30,40"])
def test_boxes_without_area_in_the_frame_are_dropped(tmp_path: Path, box: str) -> None:
    (tmp_path / "BBox_List_2017.csv").write_text(f"{HEADER}\n{NAME},Mass,{box}\n{GOOD}\n", encoding="utf-8")
    film(tmp_path / "images" / NAME, 9)
    lost, kept = NihChestSource(tmp_path).read({})
    assert isinstance(lost, Dropped) and isinstance(kept, Record)
    assert (lost.item, lost.reason, len(kept.boxes)) == (f"{NAME} row 2", "out_of_frame", 1)


def test_a_label_that_no_text_can_hold_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "BBox_List_2017.csv").write_text(f"{HEADER}\n{NAME},Ma\0ss,1,2,3,4\n{GOOD}\n", encoding="utf-8")
    film(tmp_path / "images" / NAME, 9)
    lost, kept = NihChestSource(tmp_path).read({})
    assert isinstance(lost, Dropped) and isinstance(kept, Record)
    assert (lost.item, lost.reason, kept.category) == (f"{NAME} row 2", "malformed", "mass")


def test_a_label_whose_only_box_is_dropped_gives_no_record(tmp_path: Path) -> None:
    (tmp_path / "BBox_List_2017.csv").write_text(f"{HEADER}\n{NAME},Nodule,1024,20,30,40\n{GOOD}\n", encoding="utf-8")
    film(tmp_path / "images" / NAME, 9)
    lost, kept = NihChestSource(tmp_path).read({})
    assert isinstance(lost, Dropped) and isinstance(kept, Record)
    assert (lost.reason, kept.id, kept.category) == ("out_of_frame", f"nih_chest/{NAME}", "mass")


@pytest.mark.parametrize(
    ("label", "category"),
    [("Infiltrate", "infiltration"), ("Infiltration", "infiltration"), ("Pleural_Thickening", "pleural thickening")],
)
def test_words(tmp_path: Path, label: str, category: str) -> None:
    assert only(listed(tmp_path, f"{NAME},{label},1,2,3,4")).regions[0].category == category


@pytest.mark.parametrize("folder", ["images", "images_001/images", "images_012/images", "images_007"])
def test_a_film_is_found_wherever_it_lies_and_keeps_its_id(tmp_path: Path, folder: str) -> None:
    film(tmp_path / folder / NAME, 9)
    picture = only(listed(tmp_path, GOOD))
    assert (picture.image, picture.name, picture.group) == (f"{folder}/{NAME}", NAME, "00000103")


def test_a_film_that_is_nowhere_is_missing(tmp_path: Path) -> None:
    assert only(listed(tmp_path, GOOD)).image == f"images/{NAME}"
    [lost] = NihChestSource(tmp_path).read({})
    assert isinstance(lost, Dropped) and (lost.item, lost.reason) == (NAME, "missing_file")


def test_the_frame_is_an_option(tmp_path: Path) -> None:
    picture = only(listed(tmp_path, GOOD, frame=[2048, 512]))
    assert picture.regions[0].box(100, 100).to_xyxy(2048, 512) == pytest.approx((10, 20, 40, 60))


@pytest.mark.parametrize("frame", [1024, [1024], [1, 2, 3], [0, 1024], [1024, -1], ["a", 1], [float("inf"), 1], None])
def test_a_wrong_frame_is_refused(tmp_path: Path, frame: Any) -> None:
    with pytest.raises(InputError, match=r"data\.source\.films\.frame="):
        NihChestSource(tmp_path, name="films", frame=frame)


@pytest.mark.parametrize(
    ("written", "years"),
    [("058Y", 58), ("58", 58), ("013M", 1), ("004M", 0), ("400D", 1), ("414Y", 414), ("", None), ("old", None)],
)
def test_ages(tmp_path: Path, written: str, years: int | None) -> None:
    (tmp_path / "Data_Entry_2017.csv").write_text(f"{ENTRIES}\n{NAME},Mass,0,103,{written},M,PA,1,1,1,1,\n")
    assert only(listed(tmp_path, GOOD)).regions[0].raw["age"] == years


def test_a_short_entry_tells_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "Data_Entry_2017.csv").write_text(f"{ENTRIES}\n{NAME},Mass,0\n")
    raw = only(listed(tmp_path, GOOD)).regions[0].raw
    assert raw == {"row": GOOD.split(","), "findings": "Mass", "follow_up": "0"}


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "empty"), (HEADER.encode(), "a header and no row"), (b",,\n,\n", "no header")]
)
def test_no_list_of_boxes_is_told_in_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "BBox_List_2017.csv").write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        list(NihChestSource(tmp_path).list_pictures())
    assert "BBox_List_2017.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_the_released_lists(tmp_path: Path) -> None:
    found = importlib.util.find_spec("torchxrayvision")
    if found is None or found.origin is None:
        pytest.skip("torchxrayvision, which holds the released lists, is not installed")
    for name in ("BBox_List_2017.csv", "Data_Entry_2017_v2020.csv"):
        packed = (Path(found.origin).parent / "data" / f"{name}.gz").read_bytes()
        (tmp_path / name).write_bytes(gzip.decompress(packed))
    pictures = [p for p in NihChestSource(tmp_path).list_pictures() if isinstance(p, Picture)]
    assert len(pictures) == len({p.name for p in pictures}) == 880
    regions = [region for p in pictures for region in p.regions]
    assert len(regions) == 984 and all(region.box(1024, 1024).area > 0 for region in regions)
    assert Counter(region.category for region in regions) == {
        "atelectasis": 180,
        "effusion": 153,
        "cardiomegaly": 146,
        "infiltration": 123,
        "pneumonia": 120,
        "pneumothorax": 98,
        "mass": 85,
        "nodule": 79,
    }
    assert all(region.raw["sex"] in ("F", "M") and 0 < region.raw["age"] < 100 for region in regions)
    assert {p.official_split for p in pictures} == {"test"}


@pytest.mark.slow
def test_lists_as_long_as_the_release_are_read_quickly(tmp_path: Path) -> None:
    names = [f"{i // 4:08d}_{i % 4:03d}.png" for i in range(112_120)]
    entries = [f"{name},No Finding,0,{i},058Y,M,PA,2048,2500,0.168,0.168," for i, name in enumerate(names)]
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([ENTRIES, *entries]), encoding="utf-8")
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:86_524]), encoding="utf-8")
    boxes = [f"{name},Mass,10.5,20.5,30.5,40.5,,," for name in names[-984:]]
    for k in range(1, 13):
        (tmp_path / f"images_{k:03d}/images").mkdir(parents=True)
    start = time.perf_counter()
    pictures = listed(tmp_path, *boxes)
    assert time.perf_counter() - start < 5
    assert len(pictures) == 984
    assert all(isinstance(p, Picture) and p.regions[0].raw["age"] == 58 for p in pictures)
