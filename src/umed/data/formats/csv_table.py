"""A table with a header: `image,x0,y0,x1,y1,category`, one row per box; rows of one picture may be anywhere.

`width` and `height` may state the size of the picture that the box is of.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from umed.boxes import Box, BoxError
from umed.data.files import normalize_category, read_table
from umed.data.formats import parse_corners, parse_numbers, refuse_turned
from umed.data.frames import Frame
from umed.data.picture_finder import PLACES, PictureFinder
from umed.data.sources.base import Picture, Region
from umed.errors import InputError
from umed.records import Dropped
from umed.run_files import is_text

NUMBERS = ("x0", "y0", "x1", "y1")
NEEDED = ("image", *NUMBERS, "category")
TEXTS = ("query", "diagnosis")
OF_PICTURE = ("modality", "group", "split", *TEXTS)  # optional, the same in all rows of a picture
NORMAL = ("", "no finding", "normal")
Row = dict[str, str]


@dataclass
class _Rows:
    """What the rows of one picture say; `without_box`: line and category of each row without numbers."""

    fields: Row = field(default_factory=dict)
    regions: list[Region] = field(default_factory=list)
    without_box: list[tuple[int, str]] = field(default_factory=list)


def list_pictures(root: Path, annotations: str, source: str, box: str) -> Iterator[Picture | Dropped]:
    """The pictures of the table; empty numbers and no category: normal. Raises InputError: no table, rows at odds."""
    file = root / annotations
    by_image: dict[str, _Rows] = {}
    wanted = f"a table with the columns {','.join(NEEDED)}"
    table = list(read_table(file, wanted, NEEDED, lower=True, long_cells=True))
    paths = PictureFinder(root).find_all((row["image"] for _, row, _ in table), PLACES)
    for line, row, problem in table:
        if problem := problem or _find_problem(row):
            yield Dropped(source, f"row {line}", "malformed", problem)
            continue
        rows = by_image.setdefault(paths[row["image"]], _Rows())
        _merge_fields(rows.fields, row, f"{file}:{line}")
        cells, category = [row[name] for name in NUMBERS], normalize_category(row["category"])
        if any(cells):
            _check_order(cells, box, f"{file}:{line}")
            frame = Frame.parse(row.get("width"), row.get("height"))
            rows.regions.append(Region(category, partial(_make_box, row, box), f"row {line}", row, frame=frame))
        else:
            rows.without_box.append((line, category))
    for image, rows in by_image.items():
        if rows.regions:
            for line, category in rows.without_box:
                detail = f"no box of {category or 'no finding'}, and other rows of the picture have one"
                yield Dropped(source, f"{image} row {line}", "unlabeled", detail)
        is_normal = not rows.regions and all(category in NORMAL for _, category in rows.without_box)
        yield Picture(
            image=image,
            name=image,
            modality=rows.fields.get("modality", ""),
            regions=rows.regions,
            group=rows.fields.get("group", ""),
            official_split=rows.fields.get("split", ""),
            without="no finding" if is_normal else "a category and no box",
            is_control=is_normal,
            extra={name: rows.fields[name] for name in TEXTS if name in rows.fields},
        )


def _find_problem(row: Row) -> str:
    if any("\n" in value for name, value in row.items() if name not in TEXTS):
        return "a cell of several lines: is there a stray quote in this row or above it?"
    if not row["image"]:
        return "no image"
    return "" if all(map(is_text, row.values())) else "a character that no text can hold"


def _make_box(row: Row, convention: str, width: float, height: float) -> Box:
    refuse_turned(row.get("rotation"))
    x0, y0, x1, y1 = parse_corners([row[name] for name in NUMBERS], convention)
    if row.get("width") and (x1 > width + 1 or y1 > height + 1):  # they may be those of the box
        raise BoxError("malformed", f"the box ends beyond {width:g}x{height:g}: are width and height the picture's?")
    return Box.from_xyxy((x0, y0, x1, y1), width, height)


def _merge_fields(fields: Row, row: Row, where: str) -> None:
    for name in OF_PICTURE:
        value = row.get(name)
        if value and fields.setdefault(name, value) != value:
            other = fields[name][:80]
            raise InputError(
                f"{where}: {row['image']} has {name} {value[:80]}, an earlier row has {other}: make them one"
            )


def _check_order(cells: list[str], box: str, where: str) -> None:
    if box != "xyxy":
        return
    try:
        x0, y0, x1, y1 = parse_numbers(cells)
    except BoxError:
        return  # reported when the box is made
    if x1 <= x0 or y1 <= y0:
        raise InputError(
            f"{where}: {','.join(cells)}: x1 > x0 and y1 > y0 are expected; if these are x, y, width, height set "
            "box=xywh, else correct the row"
        )
