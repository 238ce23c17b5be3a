"""COCO: one JSON with `images`, `annotations` and `categories`; `bbox` = x, y, width, height in pixels."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

from umed.boxes import Box, BoxError
from umed.data.files import normalize_category, read_json
from umed.data.formats import Corners, parse_degrees, parse_numbers, refuse_turned, turn_corners
from umed.data.frames import Frame
from umed.data.sources.base import Picture, Region
from umed.errors import InputError
from umed.run_files import are_numbers, is_text

Entry = dict[str, Any]
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {
        "id": (int, str),
        "file_name": (str,),
        "width": (int, float, NoneType),
        "height": (int, float, NoneType),
        "modality": (str, NoneType),
        "group": (int, float, str, NoneType),
        "split": (str, NoneType),
    },
    "annotations": {"id": (int, str), "image_id": (int, str), "category_id": (int, str), "bbox": (list,)},
    "categories": {"id": (int, str), "name": (str,)},
}
KEPT = ("id", "image_id", "category_id", "bbox")  # of an annotation as the raw row; segmentations are long


def list_pictures(root: Path, annotations: str) -> Iterator[Picture]:
    """The images; none is a control. Raises InputError: no COCO or wrong ids; later also a box or size that is off."""
    file = root / annotations
    coco = read_json(file, "a COCO file")
    for part in FIELDS:
        _check_entries(file, part, coco.get(part))
    images = {image["id"]: image for image in coco["images"]}
    categories = {entry["id"]: normalize_category(entry["name"]) for entry in coco["categories"]}
    regions: dict[Any, list[Region]] = {number: [] for number in images}
    for entry in coco["annotations"]:
        for key, part, known in (("image_id", "images", images), ("category_id", "categories", categories)):
            if entry[key] not in known:
                where = f"{file}: annotation id {entry['id']}"
                raise InputError(f"{where} names {key} {entry[key]}, which is not in {part}: correct it")
        image = images[entry["image_id"]]
        frame = Frame.parse(image.get("width"), image.get("height"))
        raw = {key: entry[key] for key in KEPT}
        category, make_box = categories[entry["category_id"]], partial(_make_box, file, entry)
        region = Region(category, make_box, f"annotation {entry['id']}", raw, frame=frame)
        regions[entry["image_id"]].append(region)
    for number, image in images.items():
        group = image.get("group")
        yield Picture(
            image=image["file_name"],
            name=image["file_name"],
            modality=image.get("modality") or "",
            regions=regions[number],
            group="" if group is None else str(group),
            official_split=image.get("split") or "",
        )


def _make_box(file: Path, entry: Entry, width: float, height: float) -> Box:
    if entry.get("iscrowd"):
        raise BoxError("malformed", "iscrowd: a region of many objects")
    x, y, w, h = parse_numbers(entry["bbox"])
    corners = _turn(entry, x, y, w, h)
    if corners != (x, y, x + w, y + h):
        return Box.from_xyxy(corners, width, height)
    if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
        raise InputError(
            f"{file}: annotation id {entry['id']}: bbox {entry['bbox']} reaches beyond its picture of "
            f"{width:g}x{height:g}: give x, y, width, height in pixels, and the width and height of that picture"
        )
    return Box.from_xywh((x, y, w, h), width, height)


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


def _check_entries(file: Path, part: str, entries: Any) -> None:
    """Raise InputError unless it is a list of objects with the fields of this part and unique ids."""
    if not isinstance(entries, list):
        raise InputError(f"{file}: no list `{part}`: COCO needs images, annotations and categories")
    seen = set()
    for position, entry in enumerate(entries):
        where = f"{file}: {part}[{position}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: an object is expected, found {type(entry).__name__}")
        for key, types in FIELDS[part].items():
            value = entry.get(key)
            if type(value) not in types:
                wanted = " or ".join(t.__name__ for t in types if t is not NoneType)
                raise InputError(f"{where}: {key} is {value!r}: {wanted} is expected, not {type(value).__name__}")
            if isinstance(value, str) and not is_text(value):
                raise InputError(f"{where}: {key} is {value!r}, which no file can hold: correct it")
        if part == "annotations" and not are_numbers(entry["bbox"], 4):
            raise InputError(f"{where}: bbox is {entry['bbox']!r}: four numbers x, y, width, height are expected")
        if entry["id"] in seen:
            raise InputError(f"{where}: id {entry['id']} occurs twice: ids must be unique")
        seen.add(entry["id"])
