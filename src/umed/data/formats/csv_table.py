"""A table with a header: `image,x0,y0,x1,y1,category`, one row per box; rows of one picture may be anywhere."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from umed.boxes import BoxError
from umed.data.formats.corners import box_of, numbers
from umed.data.sources.base import Picture, Region, plain
from umed.data.sources.files import read_rows
from umed.errors import InputError
from umed.records import Dropped, is_text

NUMBERS = ("x0", "y0", "x1", "y1")
NEEDED = ("image", *NUMBERS, "category")
OF_PICTURE = ("modality", "group", "split", "query", "diagnosis")  # optional, the same in all rows of a picture
TEXTS = ("query", "diagnosis")
NORMAL = ("", "no finding", "normal")
Row = dict[str, str]


@dataclass
class _Listed:
    said: Row = field(default_factory=dict)
    regions: list[Region] = field(default_factory=list)
    without: list[tuple[int, str]] = field(default_factory=list)


def pictures(root: Path, annotations: str, source: str, box: str) -> Iterator[Picture | Dropped]:
    """The pictures of the table; empty numbers say that nothing is to be found, unless the row has a category.

    Args:
        box: convention of the four numbers: `xyxy`, `xywh` or `voc`.

    Raises:
        InputError: no table with these columns; rows of one picture that disagree; x1 <= x0 with box=xyxy.
    """
    file = root / annotations
    found: dict[str, _Listed] = {}
    for line, row in _rows(file):
        if isinstance(row, str):
            yield Dropped(source, f"row {line}", "malformed", row)
            continue
        listed = found.setdefault(os.path.normpath(row["image"]), _Listed())
        _agree(listed.said, row, f"{file}:{line}")
        cells, category = [row[name] for name in NUMBERS], plain(row["category"])
        if not any(cells):
            listed.without.append((line, category))
            continue
        _check_order(cells, box, f"{file}:{line}")
        listed.regions.append(Region(category, partial(box_of, cells, box), f"row {line}", row))
    for image, listed in found.items():
        if listed.regions:
            for line, category in listed.without:
                detail = f"no box of {category or 'no finding'}, and other rows of the picture have one"
                yield Dropped(source, f"{image} row {line}", "unlabeled", detail)
        yield _picture(image, listed)


def _picture(image: str, listed: _Listed) -> Picture:
    said = listed.said
    normal = not listed.regions and all(category in NORMAL for _, category in listed.without)
    return Picture(
        image=image,
        name=image,
        modality=said.get("modality", ""),
        regions=listed.regions,
        group=said.get("group", ""),
        official_split=said.get("split", ""),
        without="no finding" if normal else "a category and no box",
        is_control=normal,
        extra={name: said[name] for name in ("query", "diagnosis") if name in said},
    )


def _rows(file: Path) -> Iterator[tuple[int, Row | str]]:
    """Line numbers with cells by column, or with what is wrong."""
    rows = read_rows(file, f"a table with the columns {','.join(NEEDED)}", long_cells=True)
    _, first = next(rows, (0, []))
    columns = [name.strip().lower() for name in first]
    lost = [name for name in NEEDED if name not in columns]
    if lost:
        raise InputError(f"{file}: no column {', '.join(lost)} in {','.join(columns)[:200]}: name it in the first row")
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise InputError(f"{file}: column {twice[0]} occurs twice: columns must be unique")
    for line, cells in rows:
        more = [cell for cell in cells[len(columns) :] if cell.strip()]
        row = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name}
        if len(cells) < len(columns) or more:
            yield line, f"{len(cells)} cells, the header has {len(columns)}"
        elif any("\n" in value for name, value in row.items() if name not in TEXTS):
            yield line, "a cell of several lines: is there a stray quote in this row or above it?"
        elif not row["image"]:
            yield line, "no image"
        elif not all(map(is_text, row.values())):
            yield line, "a character that no text can hold"
        else:
            yield line, row


def _agree(said: Row, row: Row, where: str) -> None:
    for name in OF_PICTURE:
        value = row.get(name)
        if value and said.setdefault(name, value) != value:
            raise InputError(
                f"{where}: {row['image']} has {name} {value[:80]}, an earlier row has {said[name][:80]}: make them one"
            )


def _check_order(cells: list[str], box: str, where: str) -> None:
    if box != "xyxy":
        return
    try:
        x0, y0, x1, y1 = numbers(cells)
    except BoxError:
        return  # told when the box is asked for
    if x1 <= x0 or y1 <= y0:
        raise InputError(
            f"{where}: {','.join(cells)}: x1 > x0 and y1 > y0 are expected; if these are x, y, width, height set "
            "box=xywh, else correct the row"
        )
