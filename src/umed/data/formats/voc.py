"""PASCAL VOC: one XML file per picture in `Annotations/`, pictures in `JPEGImages/` or beside."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

from umed.boxes import Box
from umed.data.formats.corners import box_of
from umed.data.look import Unusable, check_inside
from umed.data.sources.base import Picture, Region, plain
from umed.data.sources.files import files_below, printable
from umed.errors import InputError
from umed.records import Dropped

PICTURES = "JPEGImages"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def pictures(root: Path, annotations: str, source: str, box: str) -> Iterator[Picture | Dropped]:
    """The picture of every XML file; one without an `<object>` says that nothing is to be found.

    Args:
        box: convention of the corners; PASCAL's own is `voc`.

    Raises:
        InputError: no XML files. A box that is asked for raises it where `<size>` is not the picture's.
    """
    folder = root / annotations
    files = [name for name in files_below(folder) if name.lower().endswith(".xml")]
    if not files:
        raise InputError(f"{folder}: no XML file: PASCAL VOC annotations are expected there")
    known = set()
    for name in files:
        try:
            picture = _picture(root, f"{annotations}/{name}", box)
        except Unusable as error:
            yield Dropped(source, printable(f"{annotations}/{name}"), error.reason, printable(str(error)))
            continue
        known.add(os.path.normpath(picture.image))
        yield picture
    for name in files_below(root / PICTURES):
        if f"{PICTURES}/{name}" not in known:
            yield Dropped(source, printable(f"{PICTURES}/{name}"), "unlabeled", "no XML file that can be read")


def _picture(root: Path, file: str, box: str) -> Picture:
    xml = _parsed(root, file)
    filename = (xml.findtext("filename") or "").strip()
    if not filename:
        raise Unusable("malformed", f"{file}: no filename")
    size = _size(xml, file)
    regions = []
    for number, entry in enumerate(xml.iter("object"), 1):
        cells = [(entry.findtext(f"bndbox/{corner}") or "").strip() for corner in CORNERS]
        said = {tag: entry.findtext(tag) for tag in ("name", "difficult", "truncated", "pose")}
        raw: dict[str, Any] = {"file": file, **{tag: text for tag, text in said.items() if text}, "bndbox": cells}
        make = partial(_box, root / file, size, cells, box)
        regions.append(Region(plain(said["name"] or ""), make, f"object {number}", raw))
    image = _place(root, filename, os.path.dirname(file))
    return Picture(image, image, "", regions, without="no finding", is_control=not regions)


def _parsed(root: Path, file: str) -> Element:
    check_inside(root, file)
    path = root / file
    if not path.is_file():
        raise Unusable("malformed", f"{file} is no file")
    try:
        return fromstring(path.read_bytes())  # defused: entities that multiply or read other files are ValueErrors
    except OSError as error:
        raise Unusable("malformed", f"{file} cannot be read ({error.strerror})") from None
    except (ParseError, ValueError, LookupError) as error:
        raise Unusable("malformed", f"{file}: no XML ({error})") from None


def _size(xml: Element, file: str) -> tuple[int, int]:
    """Width and height, 0 where the file does not say it."""
    try:
        width, height = (int(float(xml.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except (ValueError, OverflowError):
        raise Unusable("malformed", f"{file}: size is no number") from None
    return width, height


def _place(root: Path, filename: str, beside: str) -> str:
    places = [os.path.join(folder, filename) for folder in (PICTURES, beside, "")]
    if os.path.isabs(filename):
        return filename
    # lexists: a dangling link is there, and is told as missing
    return next((place for place in places if os.path.lexists(root / place)), places[0])


def _box(file: Path, size: tuple[int, int], cells: list[str], convention: str, width: int, height: int) -> Box:
    said = size[0] or width, size[1] or height
    if said != (width, height):
        raise InputError(
            f"{file}: the picture is {width}x{height}, not {said[0]}x{said[1]}: its boxes may be of another size; "
            "correct both"
        )
    return box_of(cells, convention, width, height)
