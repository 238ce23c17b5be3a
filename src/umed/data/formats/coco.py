"""COCO: one JSON with `images`, `annotations` and `categories`; `bbox` = x, y, width, height in pixels."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

from umed.boxes import Box, BoxError
from umed.data.formats.corners import numbers
from umed.data.sources.base import Picture, Region, plain
from umed.data.sources.files import read_json
from umed.errors import InputError
from umed.records import is_text

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
KEPT = ("id", "image_id", "category_id", "bbox")  # of an annotation; a segmentation may be longer than all else


def pictures(root: Path, annotations: str) -> Iterator[Picture]:
    """The images of the file; those without an annotation are not said to be normal.

    Raises:
        InputError: no COCO file; ids that occur twice or lead nowhere. A box that is asked for may raise it too: one
            beyond its picture, or a picture of another size than the file says.
    """
    file = root / annotations
    coco = _load(file)
    images = {image["id"]: image for image in coco["images"]}
    categories = {e["id"]: plain(e["name"]) for e in coco["categories"]}
    regions: dict[Any, list[Region]] = {number: [] for number in images}
    for entry in coco["annotations"]:
        where = f"{file}: annotation id {entry['id']}"
        if entry["image_id"] not in images:
            raise InputError(f"{where} names image_id {entry['image_id']}, which is not in images: correct it")
        if entry["category_id"] not in categories:
            raise InputError(
                f"{where} names category_id {entry['category_id']}, which is not in categories: correct it"
            )
        box = partial(_box, file, images[entry["image_id"]], entry)
        raw = {key: entry[key] for key in KEPT}
        regions[entry["image_id"]].append(
            Region(categories[entry["category_id"]], box, f"annotation {entry['id']}", raw)
        )
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


def _box(file: Path, image: Entry, entry: Entry, width: int, height: int) -> Box:
    said = image.get("width") or width, image.get("height") or height
    if said != (width, height):
        raise InputError(
            f"{file}: image id {image['id']}: {image['file_name']} is {width}x{height}, not {said[0]}x{said[1]}: "
            "its boxes may be of another size; correct both"
        )
    if entry.get("iscrowd"):
        raise BoxError("malformed", "iscrowd: a region of many, no box of one")
    x, y, w, h = numbers(entry["bbox"])
    if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
        raise InputError(
            f"{file}: annotation id {entry['id']}: bbox {entry['bbox']} reaches beyond its picture of "
            f"{width}x{height}: give x, y, width, height in pixels of the stored picture"
        )
    return Box.from_xywh((x, y, w, h), width, height)


def _load(file: Path) -> dict[str, list[Entry]]:
    coco = read_json(file, "a COCO file")
    for part in FIELDS:
        _check(file, part, coco.get(part))
    return coco


def _check(file: Path, part: str, entries: Any) -> None:
    if not isinstance(entries, list):
        raise InputError(f"{file}: no list `{part}`: COCO needs images, annotations and categories")
    seen = set()
    for position, entry in enumerate(entries):
        where = f"{file}: {part}[{position}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: an object is expected, found {type(entry).__name__}")
        for key, kinds in FIELDS[part].items():
            value = entry.get(key)
            if type(value) not in kinds:
                wanted = " or ".join(kind.__name__ for kind in kinds if kind is not NoneType)
                raise InputError(f"{where}: {key} is {value!r}: {wanted} is expected, not {type(value).__name__}")
            if isinstance(value, str) and not is_text(value):
                raise InputError(f"{where}: {key} is {value!r}, which no file can hold: correct it")
        if part == "annotations" and [type(v) in (int, float) for v in entry["bbox"]] != [True] * 4:
            raise InputError(f"{where}: bbox is {entry['bbox']!r}: four numbers x, y, width, height are expected")
        if entry["id"] in seen:
            raise InputError(f"{where}: id {entry['id']} occurs twice: ids must be unique")
        seen.add(entry["id"])
