"""PASCAL VOC: one XML file per picture in `Annotations/`, pictures in `JPEGImages/` or beside."""

import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

from umed.boxes import Box
from umed.data.files import Unusable, list_files, normalize_category, read_inside
from umed.data.formats import parse_corners, parse_degrees, parse_numbers, refuse_turned, turn_corners
from umed.data.frames import Frame
from umed.data.sources.base import Picture, Region
from umed.errors import InputError
from umed.records import Dropped

PICTURES = "JPEGImages"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def list_pictures(root: Path, annotations: str, source: str, box: str) -> Iterator[Picture | Dropped]:
    """The picture of each XML file; without `<object>` normal. Raises InputError: no XML."""
    folder = root / annotations
    files = [name for name in list_files(folder) if name.lower().endswith(".xml")]
    if not files:
        raise InputError(f"{folder}: no XML file: PASCAL VOC annotations are expected there")
    listed = set()
    for name in files:
        file = f"{annotations}/{name}"
        try:
            picture = _list_picture(root, file, box)
        except Unusable as error:
            yield Dropped(source, file, "malformed", str(error))
            continue
        listed.add(os.path.normpath(picture.image))
        yield picture
    for name in list_files(root / PICTURES):
        if f"{PICTURES}/{name}" not in listed:
            yield Dropped(source, f"{PICTURES}/{name}", "unlabeled", "no XML file that can be read")


def _list_picture(root: Path, file: str, box: str) -> Picture:
    try:
        xml = fromstring(read_inside(root, file))  # defusedxml refuses entities that multiply or read other files
        width, height = (float(xml.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    except (ParseError, ValueError, LookupError, OverflowError) as error:
        raise Unusable("malformed", f"{file}: no XML with a size ({error})") from None
    filename = (xml.findtext("filename") or "").strip()
    if not filename:
        raise Unusable("malformed", f"{file}: no filename")
    regions = []
    for number, entry in enumerate(xml.iter("object"), 1):
        cells = [(entry.findtext(f"bndbox/{corner}") or "").strip() for corner in CORNERS]
        tags = {tag: entry.findtext(tag) for tag in ("name", "difficult", "truncated", "pose")}
        raw: dict[str, Any] = {"file": file, **{tag: text for tag, text in tags.items() if text}, "bndbox": cells}
        make = partial(_make_box, entry, cells, box)
        regions.append(
            Region(normalize_category(tags["name"] or ""), make, f"object {number}", raw, frame=Frame(width, height))
        )
    image = _find_image(root, filename, os.path.dirname(file))
    return Picture(image, image, "", regions, without="no finding", is_control=not regions)


def _find_image(root: Path, filename: str, beside: str) -> str:
    if os.path.isabs(filename):
        return filename
    places = [os.path.join(folder, filename) for folder in (PICTURES, beside, "")]
    # lexists: a dangling link counts, and is dropped as missing
    return next((place for place in places if os.path.lexists(root / place)), places[0])


def _make_box(entry: Element, cells: list[str], convention: str, width: float, height: float) -> Box:
    """The box; around it where it is turned, as CVAT (an attribute) and roLabelImg (`robndbox`) write it."""
    refuse_turned(entry.findtext("rotation") or entry.findtext("bndbox/rotation"))
    if not any(cells) and (turned := entry.find("robndbox")) is not None:
        x, y, w, h, radians = parse_numbers([turned.findtext(name) for name in ("cx", "cy", "w", "h", "angle")], 5)
        corners = x - w / 2, y - h / 2, x + w / 2, y + h / 2
        return Box.from_xyxy(turn_corners(corners, math.degrees(radians)), width, height)
    attributes = {a.findtext("name"): a.findtext("value") for a in entry.iterfind("attributes/attribute")}
    corners = turn_corners(parse_corners(cells, convention), parse_degrees(attributes.get("rotation")))
    return Box.from_xyxy(corners, width, height)
