"""Tables of boxes: conventions, columns, and every defect told."""

from pathlib import Path
from typing import Any

import pytest
from items import boxes, lost, write
from items import draw as picture

from umed.data.formats.csv_table import OF_PICTURE
from umed.data.sources.base import Item
from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.records import Dropped, Record


def read(root: Path, **options: Any) -> list[Item]:
    return list(FolderSource(root, format="csv", **options).read({}))


HEADER = "image,x0,y0,x1,y1,category"


def csv(root: Path, *rows: str, header: str = HEADER, **options: Any) -> list[Item]:
    write(root / "annotations.csv", "\n".join([header, *rows]) + "\n")
    return read(root, **options)


def test_pictures_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    assert list(boxes(csv(tmp_path, "a.png,1,2,10,12,cyst"))) == ["images/a.png"]
    picture(tmp_path / "a.png", seed=1)
    assert list(boxes(csv(tmp_path, "a.png,1,2,10,12,cyst"))) == ["a.png"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for seed, name in enumerate("abc"):
        picture(tmp_path / f"{name}.png", seed)
    return tmp_path


def test_rows_of_a_picture_may_be_anywhere(table: Path) -> None:
    items = csv(table, "a.png,1,2,3.5,4,Lung_Tumor", "b.png,5,6,7,8,cyst", "a.png,10,10,12,12,lung tumor", "c.png,,,,,")
    assert boxes(items) == {"a.png": [(1, 2, 3.5, 4), (10, 10, 12, 12)], "b.png": [(5, 6, 7, 8)], "c.png": []}
    assert lost(items) == {"c.png": "unlabeled"}


def test_conventions(table: Path) -> None:
    corners = {None: (1, 2, 8, 9), "xyxy": (1, 2, 8, 9), "xywh": (1, 2, 9, 11), "voc": (0, 1, 8, 9)}
    for box, wanted in corners.items():
        assert boxes(csv(table, "a.png,1,2,8,9,cyst", box=box)) == {"a.png": [wanted]}


def test_optional_and_unknown_columns_in_any_order(table: Path) -> None:
    header = "category, Y1,x1,y0,x0 ,reader,query,diagnosis,split,group,modality,image"
    row = 'cyst,9,8,2,1,Dr. Nö,"Is it, well?",A cyst at <region>.,dev,p7,MR,a.png'
    [record] = csv(table, row, header=header, modality="CT", group_regex="(z)", split="own")
    assert isinstance(record, Record) and boxes([record]) == {"a.png": [(1, 2, 8, 9)]}
    assert (record.query, record.diagnosis) == ("Is it, well?", "A cyst at <region>.")
    assert (record.split, record.official_split, record.group, record.modality) == ("val", "dev", "p7", "MR")
    assert record.provenance["raw"][0]["reader"] == "Dr. Nö"


def test_columns_that_state_the_size_of_the_picture(table: Path) -> None:
    sizes = {"80,40": (2, 1, 5, 4.5), "40,20": (4, 2, 10, 9), ",": (4, 2, 10, 9), "0,0": (4, 2, 10, 9)}
    for size, wanted in sizes.items():
        assert boxes(csv(table, f"a.png,4,2,10,9,cyst,{size}", header=f"{HEADER},width,height")) == {"a.png": [wanted]}
    for size in ("20,40", "80,", "a,b", "nan,20", "-40,-20", "8,4"):  # the last ones may be those of the box
        items = csv(table, f"a.png,4,2,10,9,cyst,{size}", header=f"{HEADER},Width,HEIGHT")
        assert lost(items) == {"a.png row 2": "malformed"}, size
    for rotation, kept in {"": True, "0": True, "360.0": True, "90": False, "180": False, "left": False}.items():
        items = csv(table, f"a.png,4,2,10,9,cyst,{rotation}", header=f"{HEADER},rotation")
        assert (boxes(items) == {"a.png": [(4, 2, 10, 9)]}) if kept else (lost(items) == {"a.png row 2": "malformed"})


@pytest.mark.parametrize("column", OF_PICTURE)
def test_rows_of_a_picture_agree(table: Path, column: str) -> None:
    rows = ["a.png,1,2,8,9,cyst,one", "a.png,2,2,8,9,cyst,", "a.png,3,2,8,9,cyst,one"]
    [record] = csv(table, *rows, header=f"{HEADER},{column}")
    assert isinstance(record, Record) and len(record.boxes) == 3
    with pytest.raises(InputError, match=rf"annotations\.csv:5: a\.png has {column} two, an earlier row has one"):
        csv(table, *rows, "a.png,3,2,8,9,cyst,two", header=f"{HEADER},{column}")


def test_defects_of_a_row(table: Path) -> None:
    rows = [
        "a.png,1,2,8,9,cyst",
        "a.png,1,2,8,,cyst",
        "a.png,nan,2,8,9,cyst",
        "a.png,1,2,inf,9,cyst",
        "a.png,1,2,1e999,9,cyst",
        "a.png,0x1,2,8,9,cyst",
        "a.png,1,2,1_0,9,cyst",
        "a.png,50,2,58,9,cyst",
        "a.png,1,2,8,9,",
        "a.png,,,,,mass",
        "a.png,1,2,8",
        "a.png,1,2,8,9,cyst,more",
        ",1,2,8,9,cyst",
        "a\0.png,1,2,8,9,cyst",
        "b.png,1,2,8,9,cyst,,",
        "c.png,,,,,mass",
    ]
    items = csv(table, *rows)
    assert boxes(items) == {"a.png": [(1, 2, 8, 9)], "b.png": [(1, 2, 8, 9)]}
    assert lost(items) == {
        **{f"a.png row {number}": "malformed" for number in range(3, 9)},
        "a.png row 9": "out_of_frame",
        "a.png row 10": "unlabeled",
        "a.png row 11": "unlabeled",
        **{f"row {number}": "malformed" for number in (12, 13, 14, 15)},
        "c.png": "unlabeled",
    }, "a category without a box says nothing of where, and is no normal picture"


def test_empty_numbers_are_no_finding(table: Path) -> None:
    for word in ("", "No Finding", "no_finding", "normal"):
        [dropped, control] = csv(table, f"a.png, , ,,,{word}")
        assert isinstance(control, Record) and control.boxes == () and control.category == "no finding"
        assert isinstance(dropped, Dropped) and dropped.reason == "unlabeled"


def test_another_convention_is_refused(table: Path) -> None:
    for row in ("a.png,10,2,8,9,cyst", "a.png,1,9,8,9,cyst", "a.png,8,2,8,9,cyst", "a.png,9,9,1,1,c"):
        with pytest.raises(InputError, match=r"annotations\.csv:3: .*x1 > x0 and y1 > y0 .*box=xywh"):
            csv(table, "a.png,1,2,8,9,cyst", row)


def test_headers_that_are_none(table: Path) -> None:
    with pytest.raises(InputError, match=r"annotations\.csv: no column y1, category in image,x0,y0,x1"):
        csv(table, "a.png,1,2,3", header="image,x0,y0,x1")
    with pytest.raises(InputError, match="no column image, x0, y0, x1, y1, category in image;x0"):
        csv(table, "a.png;1;2;3;4;cyst", header=HEADER.replace(",", ";"))
    with pytest.raises(InputError, match="column image occurs twice"):
        csv(table, "a.png,1,2,8,9,cyst,b", header=f"{HEADER},Image")
    with pytest.raises(InputError, match="a header and no row"):
        csv(table)
    with pytest.raises(InputError, match="no column"):
        csv(table, ",,,", header=",,,")
