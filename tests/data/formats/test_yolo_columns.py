"""Columns of YOLO label files: boxes, polygons, keypoints, confidence and track ids; a doubt is refused."""

from pathlib import Path

import pytest
from items import Corners, boxes, lost, write
from items import draw as picture

from umed.data.sources.base import Item
from umed.data.sources.folder import FolderSource
from umed.errors import InputError

BOX, CORNERS = "0 .5 .5 .25 .5", (15, 5, 25, 15)
KEYPOINTS = f"{BOX} .45 .4 1 .55 .6 2"
POINTS = f"{BOX} .45 .4 .55 .6 .5 .5"
TRIANGLE = "0 .5 .1 .25 .9 .75 .5"
SQUARE = "0 .4 .4 .6 .4 .6 .6 .4 .6"  # its points lie in the box of its first four numbers
OCTAGON = "0 .5 .1 .6 .2 .7 .3 .7 .5 .6 .7 .4 .9 .25 .6 .3 .2"


def read(root: Path, lines: str, yaml: str = "") -> list[Item]:
    picture(root / "images/a.png")
    write(root / "data.yaml", f"names: [cyst, stone]\n{yaml}\n")
    write(root / "labels/a.txt", lines)
    return list(FolderSource(root, format="yolo").read({}))


@pytest.mark.parametrize(
    ("lines", "yaml", "wanted"),
    [
        *((BOX.replace("0", word, 1), "", [CORNERS]) for word in ("0.0", "0.00000000000000e+00", "00", "-0.0", "+0")),
        *((BOX.replace(" ", gap) + end, "", [CORNERS]) for gap, end in (("\t", "\t\r\n"), ("  ", "  "), (" ", "\n\n"))),
        ("\ufeff" + BOX, "", [CORNERS]),
        ("0 5e-1 5.0E-1 2.5e-01 +.5", "", [CORNERS]),
        (KEYPOINTS, "kpt_shape: [2, 3]", [CORNERS]),
        (POINTS, "kpt_shape: [3, 2]\ntask: pose", [CORNERS]),
        (f"{KEYPOINTS}\n0 .1 .1 .1 .1", "kpt_shape: [2, 3]", [CORNERS, (2, 1, 6, 3)]),
        (f"{BOX} 0 0 0 1.5 -3 nan", "kpt_shape: [2, 3]", [CORNERS]),
        (f"{BOX} .9\n0 .1 .1 .1 .1 0.25", "", [CORNERS, (2, 1, 6, 3)]),
        (f"{BOX} .9 7\n0 .1 .1 .1 .1 0.25 12", "", [CORNERS, (2, 1, 6, 3)]),
        (TRIANGLE, "", [(10, 2, 30, 18)]),
        (f"{TRIANGLE}\n{BOX}", "", [(10, 2, 30, 18), CORNERS]),
        (f"{TRIANGLE}\n{OCTAGON}\n{SQUARE}", "", [(10, 2, 30, 18), (10, 2, 28, 18), (16, 8, 24, 12)]),
        (SQUARE, "", [(16, 8, 24, 12)]),
        ("0 .1 .5 .9 .5 .9 1", "", [(4, 10, 36, 20)]),
        ("0 .5 .2 .7 .5 .5 .8 .3 .5", "", [(12, 4, 28, 16)]),
        (POINTS, "task: segment", [(10, 8, 22, 12)]),
        ("0 .5 .5 .2 .2 .9 1", "task: segment", [(8, 4, 36, 20)]),
    ],
)  # fmt: skip
def test_lines_become_boxes(tmp_path: Path, lines: str, yaml: str, wanted: list[Corners]) -> None:
    items = read(tmp_path, lines, yaml)
    assert boxes(items) == {"images/a.png": wanted} and not lost(items)


@pytest.mark.parametrize(
    ("line", "yaml"),
    [
        *((f"{BOX} {more}", "") for more in (".9", "7", "1.5", "-0.5", "90")),
        *((line, "kpt_shape: [2, 3]") for line in (f"{BOX} .9", TRIANGLE, SQUARE, f"{KEYPOINTS} .9")),
        (f"{TRIANGLE} .9", ""),
        ("0 0,5 0,5 0,2 0,2", ""),
        ("0 .5 .5", ""),
        ("0", ""),
    ],
)
def test_lines_that_are_none_are_dropped(tmp_path: Path, line: str, yaml: str) -> None:
    """Beside a box of five columns: confidence stands in all lines or in none."""
    items = read(tmp_path, f"{BOX}\n{line}", yaml)
    assert boxes(items) == {"images/a.png": [CORNERS]} and lost(items) == {"images/a.png line 2": "malformed"}


@pytest.mark.parametrize(
    ("lines", "yaml", "told"),
    [
        (KEYPOINTS, "", r"a\.txt: 1 lines of 11 columns can be polygons, or boxes with keypoints .* kpt_shape"),
        (f"{POINTS}\n{POINTS}\n{BOX}", "", "2 lines of 11 columns"),
        (f"{BOX} .5 .5 2", "", "1 lines of 8 columns"),
        (f"{BOX} .9 1", "", "1 lines of 7 columns"),
        (f"{BOX} .9 1\n{TRIANGLE}\n{BOX} .9 2", "", "a.txt:3: 2 is outside"),
        *((KEYPOINTS, f"kpt_shape: {shape}", "kpt_shape is") for shape in ("[2]", "2", "[2, x]", "[0, 3]", "[2.0, 3]")),
        (KEYPOINTS, "task: pose", "kpt_shape is None"),
        *(
            (f"{word} .5 .5 .2 .2", "", f"a.txt:1: class {word}: an index")
            for word in ("1.5", "nan", "0_0", "cyst", "1,0")
        ),
        *((f"{word} .5 .5 .2 .2", "", f"a.txt:1: class {word} is not in names") for word in ("2", "-1", "2.0", "1e9")),
        ("0,.5,.5,.2,.2", "", "class 0,.5,.5,.2,.2: an index"),
        (f"{BOX}\n{BOX} .9 1", "", "1 lines of 7 columns"),
    ],
)
def test_doubts_are_refused_in_one_line(tmp_path: Path, lines: str, yaml: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        read(tmp_path, lines, yaml)
    assert "\n" not in str(caught.value)


def test_labels_pair_whatever_case_their_names_have(tmp_path: Path) -> None:
    read(tmp_path, BOX)
    (tmp_path / "labels/a.txt").rename(tmp_path / "labels/A.TXT")
    assert boxes(FolderSource(tmp_path, format="yolo").read({})) == {"images/a.png": [CORNERS]}
    picture(tmp_path / "images/A.png", 1)
    assert boxes(FolderSource(tmp_path, format="yolo").read({})) == {"images/A.png": [CORNERS], "images/a.png": []}
