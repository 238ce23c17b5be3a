"""COCO: one JSON with `images`, `annotations` and `categories`; `bbox` = x, y, width, height in pixels."""

import math
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

from umed.boxes import Box, BoxError
from umed.data.files import normalize_category, read_json
from umed.data.formats import Corners, merge_pictures, parse_degrees, parse_numbers, refuse_turned, turn_corners
from umed.data.frames import Frame
from umed.data.picture_finder import PLACES, PictureFinder
from umed.data.sources.base import Picture, Region
from umed.errors import InputError
from umed.records import Dropped
from umed.run_files import is_text, make_printable

Entry = dict[str, Any]
ID = (int, float, str)
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {  # `width`, `height`: of the picture that its boxes are of
        "id": ID,
        "file_name": (str,),
        "modality": (str, NoneType),
        "group": (int, float, str, NoneType),
        "split": (str, NoneType),
    },
    "categories": {"id": ID, "name": (str,)},
    "annotations": {"image_id": ID, "category_id": ID, "id": (*ID, NoneType)},  # `bbox`: see `_read_bbox`
}
KEPT = ("id", "image_id", "category_id", "bbox")  # of an annotation as the raw row; segmentations are long


def list_pictures(root: Path, annotations: str, source: str) -> Iterator[Picture | Dropped]:
    """The images, none of them a control; one that is listed several times has the boxes of all.

    Raises InputError: no COCO, or an id that stands for two things; later also a box that is off.
    """
    file = root / annotations
    coco = read_json(file, "a COCO file")
    if missing := [part for part in FIELDS if not isinstance(coco.get(part), list)]:
        raise InputError(f"{file}: no list `{missing[0]}`: COCO needs images, annotations and categories")
    known: dict[str, dict[str, Entry]] = {"images": {}, "categories": {}}
    for part, by_id in known.items():
        for position, entry in enumerate(coco[part]):
            if problem := _find_problem(part, entry):
                where = f"{part}[{position}]"
                yield Dropped(source, where, "malformed", f"{file.name}: {where}: {problem}")
            else:
                _add_entry(file, part, entry, by_id)
    regions: dict[str, list[Region]] = defaultdict(list)  # by the id of the image
    for position, entry in enumerate(coco["annotations"]):
        where = f"annotations[{position}]"
        number = _read_id(entry.get("image_id")) if isinstance(entry, dict) else ""
        if number in known["images"]:
            regions[number].append(_make_region(file, where, known["images"][number], entry, known["categories"]))
        else:
            yield Dropped(source, where, "malformed", f"{file.name}: {where}: its image_id is not in images")
    yield from merge_pictures(_list_images(root, known["images"], regions, source), source)


def _list_images(
    root: Path, images: dict[str, Entry], regions: dict[str, list[Region]], source: str
) -> Iterator[Picture | Dropped]:
    paths = PictureFinder(root).find_all((image["file_name"] for image in images.values()), PLACES)
    sizes: dict[str, list[Any]] = defaultdict(list)
    for image in images.values():
        sizes[paths[image["file_name"]]].append([image.get("width") or 0, image.get("height") or 0])
    for number, image in images.items():
        path, group = paths[image["file_name"]], image.get("group")
        stated = [size for size in sizes[path] if any(size)]
        if any(size != stated[0] for size in stated):
            yield Dropped(source, path, "malformed", f"image id {image['id']}: listed again with another size")
            continue
        yield Picture(
            image=path,
            name=path,
            modality=image.get("modality") or "",
            regions=regions[number],
            group="" if group is None else str(group),
            official_split=image.get("split") or "",
        )


def _make_region(file: Path, where: str, image: Entry, entry: Entry, categories: dict[str, Entry]) -> Region:
    """The region of an annotation; what is wrong with it is told when its box is made."""
    problem = _find_problem("annotations", entry)
    category = categories.get(_read_id(entry.get("category_id")))
    if category is None:
        problem = problem or f"category_id {make_printable(str(entry.get('category_id')))} is not in categories"
    name = where if problem or entry.get("id") is None else f"annotation {entry['id']}"
    make_box = partial(_make_box, file, entry, f"{file.name}: {where}: {problem}" if problem else "")
    raw = {key: entry[key] for key in KEPT if key in entry}
    frame = Frame.parse(image.get("width"), image.get("height"))
    return Region(normalize_category(category["name"]) if category else "unknown", make_box, name, raw, frame=frame)


def _make_box(file: Path, entry: Entry, problem: str, width: float, height: float) -> Box:
    if problem:
        raise BoxError("malformed", problem)
    if str(entry.get("iscrowd") or 0).lower() not in ("0", "0.0", "false"):
        raise BoxError("malformed", "iscrowd: a region of many objects")
    try:
        x, y, w, h = bbox = _read_bbox(entry)
        corners = _turn(entry, x, y, w, h)
    except BoxError as error:
        raise BoxError("malformed", f"{file.name}: {error}: bbox as x, y, width, height is expected") from None
    if corners != (x, y, x + w, y + h):
        if not (0 < x + w / 2 < width and 0 < y + h / 2 < height):
            raise BoxError("out_of_frame", f"the center of a turned box: {bbox}")
        return Box.from_xyxy(corners, width, height)
    if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
        raise InputError(
            f"{file}: annotation id {entry.get('id')}: bbox {list(bbox)} reaches beyond its picture of "
            f"{width:g}x{height:g}: give x, y, width, height in pixels, and the width and height of that picture"
        )
    return Box.from_xywh(bbox, width, height)


def _turn(entry: Entry, x: float, y: float, w: float, h: float) -> Corners:
    """Corners around a bbox that CVAT writes unturned beside its angle; around the polygon, if that is turned."""
    refuse_turned(entry.get("rotation"))
    corners, attributes, parts = (x, y, x + w, y + h), entry.get("attributes"), entry.get("segmentation")
    rotation = attributes.get("rotation") if isinstance(attributes, dict) else None
    turned = turn_corners(corners, parse_degrees(rotation))
    if turned == corners or isinstance(parts, dict):  # a mask, whose bbox is around it
        return corners
    cells = [v for part in parts for v in (part if isinstance(part, list) else [part])] if type(parts) is list else []
    numbers = parse_numbers(cells, len(cells) // 2 * 2)
    sides = (x, x + w), (y, y + h)
    if all(min(abs(v - side) for side in sides[k % 2]) < 0.5 for k, v in enumerate(numbers)):
        return turned  # no polygon, or the corners of the bbox
    xs, ys = numbers[0::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _read_bbox(entry: Entry) -> tuple[float, ...]:
    """The four numbers of `bbox`, or, where there is none, of what the polygons of `segmentation` cover."""
    bbox, polygons = entry.get("bbox"), entry.get("segmentation")
    if bbox:
        if not isinstance(bbox, list):
            raise BoxError("malformed", make_printable(repr(bbox)))
        return parse_numbers(bbox)
    if not isinstance(polygons, list) or not polygons:
        raise BoxError("malformed", "neither bbox nor polygons in segmentation")
    points = [parse_numbers(p, len(p)) for p in (polygons if isinstance(polygons[0], list) else [polygons])]
    if any(len(polygon) < 6 or len(polygon) % 2 for polygon in points):
        raise BoxError("malformed", "no bbox, and a polygon that is not x, y of three points or more")
    xs, ys = ([v for polygon in points for v in polygon[axis::2]] for axis in (0, 1))
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _find_problem(part: str, entry: Any) -> str:
    """What is wrong with an entry; "" = nothing."""
    if not isinstance(entry, dict):
        return f"an object is expected, found {type(entry).__name__}"
    for key, types in FIELDS[part].items():
        value = entry.get(key)
        is_kind = type(value) in types and not (isinstance(value, float) and not math.isfinite(value))
        if not is_kind or (isinstance(value, str) and not is_text(value)):
            wanted = " or ".join(t.__name__ for t in types if t is not NoneType)
            return f"{key} is {make_printable(repr(value))}: {wanted} is expected"
    return "file_name is empty" if part == "images" and not entry["file_name"].strip() else ""


def _add_entry(file: Path, part: str, entry: Entry, known: dict[str, Entry]) -> None:
    """Keep the entry by its id. Raises InputError: the id stands for something else already."""
    number = _read_id(entry["id"])
    other = known.setdefault(number, entry)
    fields = {"width", "height", *FIELDS[part]} - {"id"}
    if other is not entry and any(other.get(key) != entry.get(key) for key in fields):
        raise InputError(f"{file}: {part}: id {number} occurs twice, for different {part}: ids must be unique")


def _read_id(value: Any) -> str:
    """An id as some exporters write it: 1, 1.0 or "1"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
