"""DeepLesion: rows of `DL_info.csv` in, slices with their lesions out."""

import csv
import io
import logging
import time
from pathlib import Path

import numpy as np
import pytest
from disk_examples.sources.deeplesion import RELEASED, draw, row, write_example
from items import boxes, lost, records

from umed.data.sources.base import Item, Picture
from umed.data.sources.deeplesion import CATEGORIES, DeepLesionSource
from umed.errors import InputError
from umed.pictures import picture_of
from umed.records import Dropped
from umed.synthetic.formats import DEEPLESION_HEADER

SLICE, BOX = "000010_02_03_004.png", (18.0, 28.0, 48.0, 58.0)
GOOD = row(SLICE, BOX)


def list_rows(root: Path, *rows: str, header: str = DEEPLESION_HEADER) -> list[Picture | Dropped]:
    """What the source lists for these rows; no picture is there."""
    (root / "DL_info.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return list(DeepLesionSource(root).list_pictures())


def with_cell(column: str, value: str, line: str = GOOD) -> str:
    """The row with another text in one column."""
    [cells] = csv.reader([line])
    cells[DEEPLESION_HEADER.split(",").index(column)] = value
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deeplesion")
    write_example(folder)
    return folder


@pytest.fixture(scope="module")
def items(root: Path) -> list[Item]:
    return list(DeepLesionSource(root).read({}))


def test_what_a_record_says(items: list[Item]) -> None:
    found = records(items)
    record = found["000001_01_01_109.png"]
    assert (record.image, record.width, record.height) == ("Images_png/000001_01_01/109.png", 512, 512)
    assert (record.category, record.modality, record.group) == ("mediastinum", "CT", "000001")
    assert (record.official_split, record.split) == ("test", "")
    assert record.window == (-175, 275, -32768)
    [raw] = record.provenance["raw"]
    assert list(raw) == DEEPLESION_HEADER.split(",")
    assert raw["Bounding_boxes"] == "226.169, 90.0204, 241.252, 111.977" and raw["Patient_age"] == "62"
    lung, liver = (found[f"000002_01_01_050.png#{k}"] for k in (1, 2))
    assert (lung.category, lung.window) == ("lung", (-1500, 500, -32768)), "each lesion has its own window"
    assert (liver.category, liver.window) == ("liver", (-175, 275, -32768))
    assert lung.group == liver.group == "000002" and lung.official_split == "val"


def test_what_is_dropped_is_named_by_its_row(items: list[Item]) -> None:
    assert lost(items) == {
        "000003_01_01_020.png row 5": "noisy",
        "000004_01_01_030.png row 8": "unlabeled",
        "001064_01_01_200.png row 9": "unreadable",
        "000005_01_01_010.png row 11": "out_of_frame",
        "000006_01_01_010.png": "unreadable",
        "000006_01_02_011.png": "missing_file",
        "000009_01_01_010.png": "duplicate",
        **{f"000010_01_01_010.png row {line}": "malformed" for line in (17, 18, 19, 20)},
    }


def test_16_bits_are_windowed_and_8_bits_are_not(root: Path, items: list[Item]) -> None:
    found = records(items)
    deep, flat = found["000001_02_01_014.png"], found["000007_01_01_010.png"]
    gray = np.asarray(picture_of(deep, {"deeplesion": root}).convert("L"))
    assert (gray[0, 0], gray[290, 220]) == (0, round((40 + 175) / 450 * 255))
    gray = np.asarray(picture_of(flat, {"deeplesion": root}).convert("L"))
    assert (gray[0, 0], gray[30, 20]) == (0, 255)


def test_cells_as_pandas_or_a_spreadsheet_writes_them_back(tmp_path: Path) -> None:
    words = ("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis")
    assert [CATEGORIES[number] for number in range(1, 9)] == list(words)
    for written in ("{}", "{}.0", " {} "):
        rows = [with_cell("Coarse_lesion_type", written.format(number)) for number in range(1, 9)]
        [picture] = list_rows(tmp_path, *rows)
        assert isinstance(picture, Picture) and [region.category for region in picture.regions] == list(words)
    rows = [with_cell("Patient_age", age) for age in ("", "NaN", "nan")]
    [picture] = list_rows(tmp_path, *rows)
    assert isinstance(picture, Picture) and [region.raw["Patient_age"] for region in picture.regions] == [None] * 3
    for number, split in {"1": "train", "2": "val", "3": "test", "4": "", "": ""}.items():
        [picture] = list_rows(tmp_path, with_cell("Train_Val_Test", number))
        assert isinstance(picture, Picture) and picture.official_split == split


ODD_CELLS = {
    "Bounding_boxes": (
        *("", "1", "1, 2, 3", "1, 2, 3, 4, 5", "1, 2, 3, nan", "1, inf, 3, 4", "1, 2, 3, 1e999", "1, 2, 3, 0x9"),
        *("1, 2, 3, 1_0", "1; 2; 3; 4", "a, b, c, d", "1,,2,3", "[1, 2, 3, 4]", "1, 2, 3, 4\0"),
    ),
    "DICOM_windows": ("", "40", "275, -175", "5, 5", "nan, 5", "-1e999, 5", "1, 2, 3"),
    "Coarse_lesion_type": ("", "0", "9", "-2", "1.5", "nan", "1e999", "lung", "1, 2"),
    "Possibly_noisy": ("", "2", "nan", "yes"),
    "File_name": (
        *("", "a.png", "000010_02_03.png", "../000010_02_03_004.png", "/etc/000010_02_03_004.png", "1_2_3_4.jpg"),
        *("000010_02_03_004.png\0", "000010_02_03_004.png/..", "000010_02_03_\u0664.png"),
    ),
}
OTHER_LENGTHS = (SLICE, GOOD.rpartition(",")[0], GOOD + ",more", GOOD + ",,,more", ",,,5")


def test_odd_rows_are_malformed_and_cost_themselves_only(tmp_path: Path) -> None:
    cells = [(column, value) for column, values in ODD_CELLS.items() for value in values]
    rows = [*(with_cell(column, value) for column, value in cells), *OTHER_LENGTHS, GOOD]
    *dropped, kept = list_rows(tmp_path, *rows)
    assert isinstance(kept, Picture) and [region.where for region in kept.regions] == [f"row {len(rows) + 1}"]
    expected = [*(column for column, _ in cells), *["18 are expected"] * len(OTHER_LENGTHS)]
    for line, (item, told) in enumerate(zip(dropped, expected, strict=True), 2):
        assert isinstance(item, Dropped) and item.reason == "malformed" and item.item.isprintable()
        assert item.item.split()[-2:] == ["row", str(line)] and told in item.detail, item


def test_boxes_without_area_in_the_stored_picture_are_out_of_frame(tmp_path: Path) -> None:
    wrong = ("600, 28, 630, 58", "48, 28, 18, 58", "18, 28, 18, 58", "-40, -40, 0.5, 0.5")
    rows = "\n".join([DEEPLESION_HEADER, *(with_cell("Bounding_boxes", box) for box in wrong)])
    (tmp_path / "DL_info.csv").write_text(rows, encoding="utf-8")
    draw(tmp_path / "Images_png/000010_02_03/004.png", [], side=64)
    items = list(DeepLesionSource(tmp_path).read({}))
    assert lost(items) == {f"{SLICE} row {line}": "out_of_frame" for line in (2, 3, 4, 5)} and len(items) == 4


def test_boxes_are_of_the_stated_size(tmp_path: Path) -> None:
    rows = [RELEASED[0], *(with_cell("Image_size", size) for size in ("512, 500", "512", "0, 0", "nan, 512", "a, b"))]
    (tmp_path / "DL_info.csv").write_text("\n".join([DEEPLESION_HEADER, *rows]), encoding="utf-8")
    draw(tmp_path / "Images_png/000001_01_01/109.png", [], side=256)
    draw(tmp_path / "Images_png/000010_02_03/004.png", [(1, 1, 9, 9)], side=256)
    items = list(DeepLesionSource(tmp_path).read({}))
    assert boxes(items) == {"000001_01_01_109.png": [(112.5845, 44.5102, 120.126, 55.4885)]}
    assert lost(items) == {f"{SLICE} row {line}": "malformed" for line in range(3, 8)}


def test_the_first_reason_counts(tmp_path: Path) -> None:
    broken = row("002084_01_02_259.png", BOX, noisy=1)
    reasons = [
        (with_cell("Bounding_boxes", "none", broken), "unreadable"),
        (with_cell("DICOM_windows", "none", row(SLICE, BOX, noisy=1, kind=-1)), "malformed"),
        (row(SLICE, BOX, noisy=1, kind=9), "malformed"),
        (row(SLICE, BOX, noisy=1, kind=-1), "noisy"),
        (row(SLICE, BOX, kind=-1), "unlabeled"),
    ]
    listed = list_rows(tmp_path, *(line for line, _ in reasons))
    assert [item.reason for item in listed if isinstance(item, Dropped)] == [reason for _, reason in reasons]


def test_columns_are_found_by_name_whatever_the_file_is_like(tmp_path: Path) -> None:
    expected = list_rows(tmp_path, *RELEASED)
    out = io.StringIO()
    lines = csv.reader([DEEPLESION_HEADER, *RELEASED])
    csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL).writerows([*reversed(cells), ""] for cells in lines)
    (tmp_path / "DL_info.csv").write_text(out.getvalue(), encoding="utf-8-sig", newline="")
    again = list(DeepLesionSource(tmp_path).list_pictures())
    assert len(again) == 2
    for one, other in zip(expected, again, strict=True):
        assert isinstance(one, Picture) and isinstance(other, Picture)
        assert (one.image, one.official_split) == (other.image, other.official_split)
        assert one.regions[0].raw == other.regions[0].raw and one.regions[0].window == other.regions[0].window
        assert one.regions[0].box(512, 512) == other.regions[0].box(512, 512)


def test_no_list_of_lesions_is_told_in_one_line(tmp_path: Path) -> None:
    wrong = {b"": "empty", b"\n \n": "empty", DEEPLESION_HEADER.encode(): "a header and no row"}
    wrong |= dict.fromkeys((b",,,\n,,\n", b"\x89PNG\r\n\x1a\n\0\0", GOOD.encode()), "no column File_name")
    for column in ("File_name", "Bounding_boxes", "DICOM_windows", "Image_size", "Train_Val_Test"):
        wrong[f"{DEEPLESION_HEADER.replace(column, 'Other')}\n{GOOD}".encode()] = f"no column {column} in "
    for content, told in wrong.items():
        (tmp_path / "DL_info.csv").write_bytes(content)
        with pytest.raises(InputError, match=rf"DL_info\.csv: {told}") as caught:
            list(DeepLesionSource(tmp_path).list_pictures())
        assert "\n" not in str(caught.value)


def test_boxes_that_are_not_those_of_the_diameters_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = with_cell("Bounding_boxes", "20, 28, 48, 58")  # the first number by 2
    near = with_cell("Bounding_boxes", "18.9, 28, 48, 58")
    with caplog.at_level(logging.WARNING):
        [picture] = list_rows(tmp_path, GOOD, near, moved, with_cell("Measurement_coordinates", "none"))
        list_rows(tmp_path, *RELEASED)
    assert isinstance(picture, Picture) and len(picture.regions) == 4
    [told] = caplog.messages
    assert "2 of 4 boxes" in told


@pytest.mark.slow
def test_a_list_as_long_as_the_release_is_read_quickly(tmp_path: Path) -> None:
    rows = [row(f"{i // 7:06d}_01_01_{i:05d}.png", BOX, kind=i % 8 + 1) for i in range(32_735)]
    (tmp_path / "DL_info.csv").write_text("\n".join([DEEPLESION_HEADER, *rows]), encoding="utf-8")
    start = time.perf_counter()
    assert sum(1 for _ in DeepLesionSource(tmp_path).list_pictures()) == len(rows)
    assert time.perf_counter() - start < 5
