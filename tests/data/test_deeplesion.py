"""DeepLesion: rows of `DL_info.csv` in, slices with their lesions out."""

import csv
import io
import logging
import time
from pathlib import Path

import numpy as np
import pytest

from umed.data.sources.base import Picture
from umed.data.sources.deeplesion import DeepLesionSource
from umed.errors import InputError
from umed.pictures import picture_of
from umed.records import Dropped, Record
from umed.synthetic.examples.sources.deeplesion import HEADER, RELEASED, draw, row, write_example

SLICE, BOX = "000010_02_03_004.png", (18.0, 28.0, 48.0, 58.0)
GOOD = row(SLICE, BOX)


def listed(root: Path, *rows: str, header: str = HEADER) -> list[Picture | Dropped]:
    """What the source lists for these rows; no picture is there."""
    (root / "DL_info.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return list(DeepLesionSource(root).list_pictures())


def with_cell(column: str, value: str, line: str = GOOD) -> str:
    """The row with another text in one column."""
    [cells] = csv.reader([line])
    cells[HEADER.split(",").index(column)] = value
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()


def records(root: Path) -> dict[str, Record]:
    return {item.id: item for item in DeepLesionSource(root).read({}) if isinstance(item, Record)}


def test_what_a_record_says(tmp_path: Path) -> None:
    write_example(tmp_path)
    record = records(tmp_path)["deeplesion/000001_01_01_109.png"]
    assert (record.image, record.width, record.height) == ("Images_png/000001_01_01/109.png", 512, 512)
    assert (record.category, record.modality, record.group) == ("mediastinum", "CT", "000001")
    assert (record.official_split, record.split) == ("test", "")
    assert record.window == (-175, 275, -32768)
    [raw] = record.provenance["raw"]
    assert list(raw) == HEADER.split(",")
    assert raw["Bounding_boxes"] == "226.169, 90.0204, 241.252, 111.977" and raw["Patient_age"] == "62"


def test_each_lesion_of_a_slice_has_its_own_window(tmp_path: Path) -> None:
    write_example(tmp_path)
    found = records(tmp_path)
    lung, liver = (found[f"deeplesion/000002_01_01_050.png#{k}"] for k in (1, 2))
    assert (lung.category, lung.window) == ("lung", (-1500, 500, -32768))
    assert (liver.category, liver.window) == ("liver", (-175, 275, -32768))
    assert lung.group == liver.group == "000002" and lung.official_split == "val"


def test_what_is_dropped_is_named_by_its_row(tmp_path: Path) -> None:
    write_example(tmp_path)
    dropped = {d.item: d.reason for d in DeepLesionSource(tmp_path).read({}) if isinstance(d, Dropped)}
    assert dropped == {
        "000003_01_01_020.png row 5": "noisy",
        "000004_01_01_030.png row 8": "unlabeled",
        "001064_01_01_200.png row 9": "unreadable",
        "000005_01_01_010.png row 11": "out_of_frame",
        "000006_01_01_010.png": "unreadable",
        "000006_01_02_011.png": "missing_file",
        "000009_01_01_010.png": "duplicate",
        **{f"000010_01_01_010.png row {line}": "malformed" for line in (17, 18, 19, 20)},
    }


def test_16_bits_are_windowed_and_8_bits_are_not(tmp_path: Path) -> None:
    write_example(tmp_path)
    found = records(tmp_path)
    deep, flat = found["deeplesion/000001_02_01_014.png"], found["deeplesion/000007_01_01_010.png"]
    gray = np.asarray(picture_of(deep, {"deeplesion": tmp_path}).convert("L"))
    assert (gray[0, 0], gray[290, 220]) == (0, round((40 + 175) / 450 * 255))
    gray = np.asarray(picture_of(flat, {"deeplesion": tmp_path}).convert("L"))
    assert (gray[0, 0], gray[30, 20]) == (0, 255)


@pytest.mark.parametrize(
    ("number", "word"),
    [*enumerate(("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis"), 1)],
)
def test_the_types_of_the_release(tmp_path: Path, number: int, word: str) -> None:
    for written in (str(number), f"{number}.0", f" {number} "):  # as pandas or a spreadsheet writes it back
        [picture] = listed(tmp_path, with_cell("Coarse_lesion_type", written))
        assert isinstance(picture, Picture)
        assert [region.category for region in picture.regions] == [word]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(
            ("Bounding_boxes", value)
            for value in (
                *(
                    "",
                    "1",
                    "1, 2, 3",
                    "1, 2, 3, 4, 5",
                    "1, 2, 3, nan",
                    "1, inf, 3, 4",
                    "1, 2, 3, 1e999",
                    "1, 2, 3, 0x9",
                ),
                *("1, 2, 3, 1_0", "1; 2; 3; 4", "a, b, c, d", "1,,2,3", "[1, 2, 3, 4]", "1, 2, 3, 4\0"),
            )
        ),
        *(("DICOM_windows", value) for value in ("", "40", "275, -175", "5, 5", "nan, 5", "-1e999, 5", "1, 2, 3")),
        *(("Coarse_lesion_type", value) for value in ("", "0", "9", "-2", "1.5", "nan", "1e999", "lung", "1, 2")),
        *(("Possibly_noisy", value) for value in ("", "2", "nan", "yes")),
        *(
            ("File_name", value)
            for value in (
                *(
                    "",
                    "a.png",
                    "000010_02_03.png",
                    "../000010_02_03_004.png",
                    "/etc/000010_02_03_004.png",
                    "1_2_3_4.jpg",
                ),
                *("000010_02_03_004.png\0", "000010_02_03_004.png/..", "000010_02_03_\u0664.png"),
            )
        ),
    ],
)
def test_odd_cells_are_malformed_and_cost_their_row_only(tmp_path: Path, column: str, value: str) -> None:
    lost, kept = listed(tmp_path, with_cell(column, value), GOOD)
    assert isinstance(lost, Dropped) and isinstance(kept, Picture)
    assert (lost.reason, lost.item.split()[-2:]) == ("malformed", ["row", "2"])
    assert lost.item.isprintable() and (column in lost.detail or column == "File_name")
    assert [region.where for region in kept.regions] == ["row 3"]


@pytest.mark.parametrize("line", [SLICE, GOOD.rpartition(",")[0], GOOD + ",more", GOOD + ",,,more", ",,,5"])
def test_rows_of_another_length_are_malformed(tmp_path: Path, line: str) -> None:
    lost, kept = listed(tmp_path, line, GOOD)
    assert isinstance(lost, Dropped) and isinstance(kept, Picture)
    assert lost.reason == "malformed" and "18 are expected" in lost.detail


@pytest.mark.parametrize("box", ["600, 28, 630, 58", "48, 28, 18, 58", "18, 28, 18, 58", "-40, -40, 0.5, 0.5"])
def test_boxes_without_area_in_the_stored_picture_are_out_of_frame(tmp_path: Path, box: str) -> None:
    (tmp_path / "DL_info.csv").write_text(f"{HEADER}\n{with_cell('Bounding_boxes', box)}\n", encoding="utf-8")
    draw(tmp_path / "Images_png/000010_02_03/004.png", [])
    [lost] = DeepLesionSource(tmp_path).read({})
    assert isinstance(lost, Dropped) and (lost.item, lost.reason) == (f"{SLICE} row 2", "out_of_frame")


def test_the_first_reason_counts(tmp_path: Path) -> None:
    broken = row("002084_01_02_259.png", BOX, noisy=1)
    reasons = [
        (with_cell("Bounding_boxes", "none", broken), "unreadable"),
        (with_cell("DICOM_windows", "none", row(SLICE, BOX, noisy=1, kind=-1)), "malformed"),
        (row(SLICE, BOX, noisy=1, kind=9), "malformed"),
        (row(SLICE, BOX, noisy=1, kind=-1), "noisy"),
        (row(SLICE, BOX, kind=-1), "unlabeled"),
    ]
    assert [d.reason for d in listed(tmp_path, *(r for r, _ in reasons)) if isinstance(d, Dropped)] == [
        reason for _, reason in reasons
    ]


@pytest.mark.parametrize(("number", "split"), [("1", "train"), ("2", "val"), ("3", "test"), ("4", ""), ("", "")])
def test_the_official_split(tmp_path: Path, number: str, split: str) -> None:
    [picture] = listed(tmp_path, with_cell("Train_Val_Test", number))
    assert isinstance(picture, Picture) and picture.official_split == split


@pytest.mark.parametrize("age", ["", "NaN", "nan"])
def test_an_age_that_is_not_known_is_none(tmp_path: Path, age: str) -> None:
    [picture] = listed(tmp_path, with_cell("Patient_age", age))
    assert isinstance(picture, Picture) and picture.regions[0].raw["Patient_age"] is None


def test_columns_are_found_by_name_whatever_the_file_is_like(tmp_path: Path) -> None:
    def values(line: str) -> list[str]:
        [cells] = csv.reader([line])
        return cells

    expected = listed(tmp_path, *RELEASED)
    lines = [values(HEADER), *map(values, RELEASED)]
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL).writerows([*reversed(cells), ""] for cells in lines)
    (tmp_path / "DL_info.csv").write_text(out.getvalue(), encoding="utf-8-sig", newline="")
    again = list(DeepLesionSource(tmp_path).list_pictures())
    assert len(again) == 2
    for one, other in zip(expected, again, strict=True):
        assert isinstance(one, Picture) and isinstance(other, Picture)
        assert (one.image, one.official_split) == (other.image, other.official_split)
        assert one.regions[0].raw == other.regions[0].raw and one.regions[0].window == other.regions[0].window
        assert one.regions[0].box(512, 512) == other.regions[0].box(512, 512)


@pytest.mark.parametrize("missing", ["File_name", "Bounding_boxes", "DICOM_windows", "Train_Val_Test"])
def test_a_missing_column_is_named(tmp_path: Path, missing: str) -> None:
    with pytest.raises(InputError, match=rf"DL_info\.csv: no column {missing} in "):
        listed(tmp_path, GOOD, header=HEADER.replace(missing, "Other"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (HEADER.encode(), "a header and no row"),
        (b",,,\n,,\n", "no column File_name"),
        (b"\x89PNG\r\n\x1a\n\0\0", "no column File_name"),
        (GOOD.encode(), "no column File_name"),
    ],
)
def test_no_list_of_lesions_is_told_in_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "DL_info.csv").write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        list(DeepLesionSource(tmp_path).list_pictures())
    assert "DL_info.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_boxes_that_are_not_those_of_the_diameters_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = with_cell("Bounding_boxes", "20, 28, 48, 58")  # the first number by 2
    near = with_cell("Bounding_boxes", "18.9, 28, 48, 58")
    with caplog.at_level(logging.WARNING):
        [picture] = listed(tmp_path, GOOD, near, moved, with_cell("Measurement_coordinates", "none"))
    assert isinstance(picture, Picture) and len(picture.regions) == 4
    [told] = caplog.messages
    assert "2 of 4 boxes" in told
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        listed(tmp_path, *RELEASED)
    assert not caplog.messages


@pytest.mark.slow
def test_a_list_as_long_as_the_release_is_read_quickly(tmp_path: Path) -> None:
    rows = [row(f"{i // 7:06d}_01_01_{i:05d}.png", BOX, kind=i % 8 + 1) for i in range(32_735)]
    (tmp_path / "DL_info.csv").write_text("\n".join([HEADER, *rows]), encoding="utf-8")
    start = time.perf_counter()
    assert sum(1 for _ in DeepLesionSource(tmp_path).list_pictures()) == len(rows)
    assert time.perf_counter() - start < 5
