"""NIH ChestX-ray14: lists with broken headers in, films with their boxes out."""

import gzip
import importlib.util
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from disk_examples.sources.nih_chest import QUOTED, RELEASED, film, write_example
from items import boxes, draw, lost, records

from umed.data.sources.base import Picture
from umed.data.sources.nih_chest import NihChestSource
from umed.errors import InputError
from umed.records import Dropped, Record
from umed.synthetic.formats import NIH_BOXES_HEADER, NIH_ENTRIES_HEADER

NAME = "00000103_001.png"
GOOD = f"{NAME},Mass,10,20,30,40"


def listed(root: Path, *rows: str, header: str = NIH_BOXES_HEADER, **options: Any) -> list[Picture | Dropped]:
    """What the source lists for these boxes; no film is there."""
    (root / "BBox_List_2017.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return list(NihChestSource(root, **options).list_pictures())


def only(items: list[Picture | Dropped]) -> Picture:
    [picture] = items
    assert isinstance(picture, Picture)
    return picture


def test_the_example_in_words(tmp_path: Path) -> None:
    write_example(tmp_path)
    items = list(NihChestSource(tmp_path).read({}))
    found = records(items)
    one, two = found["00000032_037.png#1"], found["00000032_037.png#2"]
    assert (one.category, two.category) == ("infiltration", "nodule")
    assert one.image == two.image == "images_001/images/00000032_037.png"
    assert (one.group, one.modality, one.official_split) == ("00000032", "X-ray", "test")
    told = {"findings": "Infiltration|Nodule", "follow_up": "37", "age": 55, "sex": "F", "view": "AP"}
    assert one.provenance["raw"] == [
        {"row": ["00000032_037.png", "Infiltrate", "100.5", "200", "300", "400"], **told},
        {"row": ["00000032_037.png", "Infiltrate", "500", "200", "100", "100"], **told},
    ]
    assert found["00000102_001.png"].category == "hernia"
    assert found["00000072_000.png"].official_split == "train_val"
    assert found["00013118_008.png"].provenance["raw"][0]["findings"] == "Atelectasis|Mass"  # the later list
    assert lost(items) == {
        "00000103_001.png row 10": "malformed",
        "00000103_001.png row 11": "malformed",
        "00000104_001.png row 12": "out_of_frame",
        "00000105_001.png": "unreadable",
        "00000106_001.png": "missing_file",
        "00000107_001.png": "duplicate",
        "00000108_001.png row 16": "unlabeled",
    }, "films without a box (00000099_000.png) are not listed"


def test_columns_are_read_by_position(tmp_path: Path) -> None:
    headers = (NIH_BOXES_HEADER, QUOTED, NIH_BOXES_HEADER.rstrip(","), "anything at all")
    ends = ("\n", "\r\n", "\n", "\r")
    encodings = ("utf-8", "utf-8-sig", "utf-16", "latin-1")
    for header, end, encoding, tail in zip(headers, ends, encodings, ("", ",,,", ",,,", ""), strict=True):
        lines = [header, RELEASED[0].rstrip(",") + tail, f'"{NAME}", "Mass",10,20,30,40{tail}', ""]
        (tmp_path / "BBox_List_2017.csv").write_text(end.join(lines), encoding=encoding, newline="")
        first, second = NihChestSource(tmp_path).list_pictures()
        assert isinstance(first, Picture) and isinstance(second, Picture)
        assert first.regions[0].box(1024, 1024).to_xyxy(1024, 1024) == pytest.approx(RELEASED[1])
        assert (second.name, second.regions[0].category) == (NAME, "mass")
        assert second.regions[0].box(1024, 1024).to_xyxy(1024, 1024) == pytest.approx((10, 20, 40, 60))


def test_odd_rows_are_malformed_and_cost_themselves_only(tmp_path: Path) -> None:
    lines = [
        *(NAME, f"{NAME},Mass,10,20,30", f"{NAME},Mass,10,20,30,"),
        *(f"{NAME},Mass,10,20,30,{odd}" for odd in ("nan", "inf", "-inf", "1e999", "0x10", "ten", "1_0", "4\0")),
        *("a.png,Mass,10,20,30,40", ",Mass,10,20,30,40", "../00000103_001.png,Mass,10,20,30,40"),
        *("/tmp/00000103_001.png,Mass,10,20,30,40", "00000103_001.png\0,Mass,10,20,30,40"),
    ]
    *dropped, kept = listed(tmp_path, *lines, GOOD)
    assert isinstance(kept, Picture) and [region.where for region in kept.regions] == [f"row {len(lines) + 2}"]
    for line, item in enumerate(dropped, 2):
        assert isinstance(item, Dropped) and item.reason == "malformed" and item.item.isprintable()
        assert item.item.split()[-2:] == ["row", str(line)]
    assert len(dropped) == len(lines)


def test_boxes_that_are_none_are_dropped_and_a_label_without_one_gives_no_record(tmp_path: Path) -> None:
    wrong = [f"{NAME},Mass,{box}" for box in ("10,20,0,40", "10,20,-30,40", "1024,20,30,40", "-30,20,30,40")]
    wrong += [f"{NAME},Nodule,1024,20,30,40", f"{NAME},Ma\0ss,1,2,3,4"]
    (tmp_path / "BBox_List_2017.csv").write_text("\n".join([NIH_BOXES_HEADER, *wrong, GOOD]), encoding="utf-8")
    film(tmp_path / "images" / NAME, 9, side=64)
    items = list(NihChestSource(tmp_path).read({}))
    reasons = dict(zip(range(2, 8), [*["out_of_frame"] * 5, "malformed"], strict=True))
    assert lost(items) == {f"{NAME} row {line}": reason for line, reason in reasons.items()}
    assert {name: record.category for name, record in records(items).items()} == {NAME: "mass"}
    assert boxes(items) == {NAME: [(0.625, 1.25, 2.5, 3.75)]}  # the frame is 1024 wide, the picture 64


def test_words(tmp_path: Path) -> None:
    words = {"Infiltrate": "infiltration", "Infiltration": "infiltration", "Pleural_Thickening": "pleural thickening"}
    picture = only(listed(tmp_path, *(f"{NAME},{label},1,2,3,4" for label in words)))
    assert [region.category for region in picture.regions] == list(words.values())


def test_a_film_is_found_wherever_it_lies_and_keeps_its_id(tmp_path: Path) -> None:
    assert only(listed(tmp_path, GOOD)).image == f"images/{NAME}"
    assert lost(NihChestSource(tmp_path).read({})) == {NAME: "missing_file"}
    for folder in ("images_007", "images_012/images", "images_001/images", "images"):  # the later ones win
        film(tmp_path / folder / NAME, 9, side=16)
        picture = only(listed(tmp_path, GOOD))
        assert (picture.image, picture.name, picture.group) == (f"{folder}/{NAME}", NAME, "00000103")


def test_the_frame_is_an_option(tmp_path: Path) -> None:
    picture = only(listed(tmp_path, GOOD, frame=[2048, 512]))
    assert (picture.regions[0].frame.width, picture.regions[0].frame.height) == (2048, 512)
    for frame in (1024, [1024], [1, 2, 3], [0, 1024], [1024, -1], ["a", 1], [float("inf"), 1], None):
        with pytest.raises(InputError, match=r"data\.source\.films\.frame="):
            NihChestSource(tmp_path, name="films", frame=frame)  # type: ignore[arg-type]


def test_a_film_of_another_aspect_is_read_if_it_is_that_of_the_original(tmp_path: Path) -> None:
    entry = f"{NIH_ENTRIES_HEADER}\n{NAME},Mass,0,1,58,M,PA,2048,2500,1,1,"
    for size, wanted in {
        (64, 64): (1.25, 1.25),
        (48, 64): None,
        (82, 100): (1.6015625, 1.953125),
        (100, 82): None,
    }.items():
        root = tmp_path / f"{size[0]}x{size[1]}"
        draw(root / "images" / NAME, size=size)
        listed(root, f"{NAME},Mass,20,20,300,400")
        items = list(NihChestSource(root).read({}))
        assert lost(items) == ({} if size == (64, 64) else {f"{NAME} row 2": "malformed"})
        (root / "Data_Entry_2017.csv").write_text(entry)
        items = list(NihChestSource(root).read({}))
        x, y = wanted or (0, 0)
        assert boxes(items) == ({NAME: [(x, y, 16 * x, 21 * y)]} if wanted else {})


def test_what_the_list_of_all_films_says(tmp_path: Path) -> None:
    ages = {"058Y": 58, "58": 58, "013M": 1, "004M": 0, "400D": 1, "414Y": 414, "": None, "old": None}
    names = [f"00000103_{number:03d}.png" for number in range(len(ages))]
    rows = [f"{name},Mass,0,103,{written},M,PA,1,1,1,1," for name, written in zip(names, ages, strict=True)]
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([NIH_ENTRIES_HEADER, *rows, "00000200_000.png,Mass,0"]))
    pictures = listed(tmp_path, *(f"{name},Mass,10,20,30,40" for name in (*names, "00000200_000.png")))
    *raws, short = (only([picture]).regions[0].raw for picture in pictures)
    assert [raw["age"] for raw in raws] == list(ages.values())
    assert {k: v for k, v in short.items() if k != "row"} == {"findings": "Mass", "follow_up": "0"}


def test_no_list_of_boxes_is_told_in_one_line(tmp_path: Path) -> None:
    wrong = {b"": "empty", NIH_BOXES_HEADER.encode(): "a header and no row", b",,\n,\n": "no header"}
    wrong[f"{RELEASED[0]}\n{GOOD}".encode()] = "no header"  # or its first box would be lost in silence
    for content, told in wrong.items():
        (tmp_path / "BBox_List_2017.csv").write_bytes(content)
        with pytest.raises(InputError, match=rf"BBox_List_2017\.csv: .*{told}") as caught:
            list(NihChestSource(tmp_path).list_pictures())
        assert "\n" not in str(caught.value)


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
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([NIH_ENTRIES_HEADER, *entries]), encoding="utf-8")
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:86_524]), encoding="utf-8")
    boxes = [f"{name},Mass,10.5,20.5,30.5,40.5,,," for name in names[-984:]]
    for k in range(1, 13):
        (tmp_path / f"images_{k:03d}/images").mkdir(parents=True)
    start = time.perf_counter()
    pictures = listed(tmp_path, *boxes)
    assert time.perf_counter() - start < 5
    assert len(pictures) == 984
    assert all(isinstance(p, Picture) and p.regions[0].raw["age"] == 58 for p in pictures)


def test_normal_films_are_controls_where_they_are_asked_for(tmp_path: Path) -> None:
    write_example(tmp_path)
    more = [
        "00000099_001.png,No Finding,1,99,40,F,AP,2048,2500,0.168,0.168",  # the same patient
        "00000200_000.png,No Finding,0,200,40,F,AP,2048,2500,0.168,0.168",  # no such picture
        "00000201_000.png,no finding,0,201,40,F,AP,2048,2500,0.168,0.168",
        "00000202_000.png,Hernia,0,202,40,F,AP,2048,2500,0.168,0.168",
        "00000203_000.png",
    ]
    path = tmp_path / "Data_Entry_2017_v2020.csv"
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(more) + "\n", encoding="utf-8")
    for number in (99, 202, 203):
        film(tmp_path / f"images/{number:08d}_001.png", 120)
        film(tmp_path / f"images/{number:08d}_000.png", 121)
    film(tmp_path / "images/00000201_000.png", 130)

    def controls(count: int) -> list[Record]:
        items = NihChestSource(tmp_path, controls=count).read({})
        return [item for item in items if isinstance(item, Record) and not item.boxes]

    assert controls(0) == []
    assert [(r.image, r.group, r.official_split) for r in controls(5)] == [
        ("images/00000099_000.png", "00000099", "train_val"),
        ("images/00000201_000.png", "00000201", "test"),
    ]
    assert [r.image for r in controls(1)] == ["images/00000099_000.png"]


def test_controls_that_cannot_be_taken(tmp_path: Path) -> None:
    write_example(tmp_path)
    for wrong in (-1, 1.5, "all", True):
        with pytest.raises(InputError, match=f"data.source.nih_chest.controls={wrong}: a number of films"):
            NihChestSource(tmp_path, controls=wrong)  # type: ignore[arg-type]
    for path in tmp_path.glob("Data_Entry*"):
        path.unlink()
    with pytest.raises(InputError, match="controls=2: no Data_Entry_2017.*says which films are normal"):
        list(NihChestSource(tmp_path, controls=2).read({}))
