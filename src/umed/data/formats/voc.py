"""PASCAL VOC: one XML file per picture in `Annotations/`, pictures in `JPEGImages/` or beside."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

from umed.boxes import Box
from umed.data.files import Unusable, drop_suffix, list_files, normalize_category, read_inside
from umed.data.formats import (
    merge_pictures,
    parse_corners,
    parse_degrees,
    parse_numbers,
    refuse_turned,
    turn_corners,
)
from umed.data.frames import Frame
from umed.data.picture_finder import PictureFinder
from umed.data.sources.base import Picture, Region
from umed.errors import InputError
from umed.records import Dropped
from umed.run_files import make_printable

PICTURES = "JPEGImages"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def list_pictures(root: Path, annotations: str, source: str, box: str) -> Iterator[Picture | Dropped]:
    """The picture of each XML file; without `<object>` normal. Raises InputError: no XML."""
    folder = root / annotations
    files = [name for name in list_files(folder) if name.lower().endswith(".xml")]
    if not files:
        raise InputError(f"{folder}: no XML file: PASCAL VOC annotations are expected there")
    finder = PictureFinder(root)
    pictures: dict[str, Picture] = {}
    for name in files:
        file = f"{annotations}/{name}"
        try:
            xml = _parse(root, file)
            image = _find_image(finder, xml, annotations, drop_suffix(name))
            regions = _list_regions(file, xml, box)
        except Unusable as error:
            yield Dropped(source, file, "malformed", str(error))
            continue
        pictures[file] = Picture(image, image, "", regions, without="no finding", is_control=not regions)
    listed = Counter(picture.image for picture in pictures.values())
    with_xml = set(map(_find_stem, files))
    for file, picture in list(pictures.items()):
        stem = _find_stem(picture.image)
        if _find_stem(file) != stem and (listed[picture.image] > 1 or stem in with_xml):
            detail = f"{file}: filename is {picture.image}, which another XML file names or is called: correct it"
            yield Dropped(source, file, "malformed", detail)
            del pictures[file]
    yield from merge_pictures(pictures.values(), source)
    for name in list_files(root / PICTURES):
        if f"{PICTURES}/{name}" not in listed:
            yield Dropped(source, f"{PICTURES}/{name}", "unlabeled", "no XML file that can be read")


def _parse(root: Path, file: str) -> Element:
    """The XML, its tags in lower case and without namespaces. Raises Unusable: none, or another document."""
    try:
        xml = fromstring(read_inside(root, file))  # defusedxml refuses entities that multiply or read other files
    except (ParseError, ValueError, LookupError) as error:
        raise Unusable("malformed", f"{file}: no XML ({error})") from None
    for element in xml.iter():
        element.tag = str(element.tag).rpartition("}")[2].lower()
    if xml.tag != "annotation":
        raise Unusable("malformed", f"{file}: its root is <{make_printable(xml.tag[:40])}>, <annotation> is expected")
    return xml


def _list_regions(file: str, xml: Element, box: str) -> list[Region]:
    try:
        width, height = (float(xml.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    except ValueError as error:
        raise Unusable("malformed", f"{file}: no size ({error})") from None
    regions = []
    for number, entry in enumerate(xml.iter("object"), 1):
        cells = [(entry.findtext(f"bndbox/{corner}") or "").strip() for corner in CORNERS]
        tags = {tag: entry.findtext(tag) for tag in ("name", "difficult", "truncated", "pose")}
        raw: dict[str, Any] = {"file": file, **{tag: text for tag, text in tags.items() if text}, "bndbox": cells}
        category, make_box = normalize_category(tags["name"] or ""), partial(_make_box, entry, cells, box)
        regions.append(Region(category, make_box, f"object {number}", raw, frame=Frame(width, height)))
    return regions


def _find_image(finder: PictureFinder, xml: Element, annotations: str, stem: str) -> str:
    """The picture that `filename` names, or else the one with the XML file's own name; `folder` and `path` come last.

    Raises Unusable: none is named, or both are there and their names differ.
    """
    filename, folder, path = ((xml.findtext(tag) or "").strip() for tag in ("filename", "folder", "path"))
    below, name = os.path.split(stem)
    places = [os.path.join(place, below) for place in (PICTURES, "images", annotations, "")]
    namesake = finder.find(name, places)
    named = finder.find(filename, [*places, PICTURES, "images", ""]) if filename else ""
    if named and namesake and _find_stem(named) != _find_stem(namesake):
        detail = f"filename is {filename}, and {namesake} has the name of this file: keep one of the two names"
        raise Unusable("malformed", f"{annotations}/{stem}.xml: {detail}")
    further = (other for other in (f"{folder}/{filename}" if folder and filename else "", path) if other)
    image = named or namesake or next(filter(None, map(finder.find, further)), "")
    if not image and not filename:
        raise Unusable("malformed", f"{annotations}/{stem}.xml: no filename, and no picture has the name of this file")
    return image or os.path.join(PICTURES, filename.replace("\\", "/"))


def _find_stem(path: str) -> str:
    return os.path.basename(drop_suffix(path))


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
