"""`folder`: the user's own pictures with COCO boxes."""

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any

from PIL import Image

from umed.boxes import Box, BoxError
from umed.errors import InputError
from umed.pictures import UNREADABLE, check_depth
from umed.records import Dropped, Record, is_text

Entry = dict[str, Any]
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "images": {
        "id": (int, str),
        "file_name": (str,),
        "width": (int, float, NoneType),
        "height": (int, float, NoneType),
        "modality": (str, NoneType),
        "group": (int, float, str, NoneType),
    },
    "annotations": {"id": (int, str), "image_id": (int, str), "category_id": (int, str), "bbox": (list,)},
    "categories": {"id": (int, str), "name": (str,)},
}


class FolderSource:
    """Pictures under one folder with the boxes of a COCO file.

    An image may carry `modality` and `group` keys of its own; they win over the options.

    Args:
        root: folder to which every `file_name` is relative.
        format: `coco`.
        name: of the source in records and metrics.
        annotations: the file, relative to `root`.
        modality: of pictures that do not name theirs.
        group_regex: its first group (or whole match) in `file_name` is the patient; without it, each picture is one.

    Raises:
        InputError: a format that is not known, a wrong regular expression.
    """

    def __init__(
        self,
        root: str,
        format: str = "coco",
        name: str = "folder",
        annotations: str = "annotations.json",
        modality: str | None = None,
        group_regex: str | None = None,
    ) -> None:
        if format != "coco":
            raise InputError(f"{name}: format={format} is not known: use format=coco")
        try:
            self.group_regex = re.compile(group_regex) if group_regex else None
        except re.error as error:
            raise InputError(f"{name}: group_regex={group_regex} is no regular expression ({error})") from None
        self.root, self.name, self.modality = Path(root), name, modality
        self.file = self.root / annotations

    @property
    def roots(self) -> dict[str, Path]:
        return {self.name: self.root}

    def read(self) -> Iterator[Record | Dropped]:
        """One record per image and category; every image or box that gives none is `Dropped`.

        Raises:
            InputError: no such folder or file; not COCO; a box in another convention; a path out of `root`.
        """
        coco = self._load()
        categories = {e["id"]: _plain(e["name"]) for e in coco["categories"]}
        boxes: dict[Any, list[Entry]] = {e["id"]: [] for e in coco["images"]}
        for entry in coco["annotations"]:
            where = f"{self.file}: annotation id {entry['id']}"
            if entry["image_id"] not in boxes:
                raise InputError(f"{where} names image_id {entry['image_id']}, which is not in images: correct it")
            if entry["category_id"] not in categories:
                raise InputError(
                    f"{where} names category_id {entry['category_id']}, which is not in categories: correct it"
                )
            boxes[entry["image_id"]].append(entry)
        first: dict[bytes, str] = {}
        for image in coco["images"]:
            path, file_name = self._inside(image), image["file_name"]
            try:
                width, height, pixels = self._look(path)
            except UNREADABLE as error:
                # os.path: a name that is too long exists nowhere, Path.exists raises for it
                there = os.path.exists(path)
                reason, detail = ("unreadable", str(error)) if there else ("missing_file", f"no file {path}")
                yield Dropped(self.name, file_name, reason, detail)
                continue
            if pixels in first:
                yield Dropped(self.name, file_name, "duplicate", f"same pixels as {first[pixels]}")
                continue
            first[pixels] = file_name
            if not boxes[image["id"]]:
                yield Dropped(self.name, file_name, "unlabeled", "no box")
            yield from self._records(image, width, height, boxes[image["id"]], categories)

    def _records(
        self, image: Entry, width: int, height: int, entries: list[Entry], categories: dict[Any, str]
    ) -> Iterator[Record | Dropped]:
        self._check_size(image, width, height)
        found: dict[str, list[tuple[Box, Any]]] = defaultdict(list)
        for entry in entries:
            item = f"{image['file_name']} annotation {entry['id']}"
            if entry.get("iscrowd"):
                yield Dropped(self.name, item, "malformed", "iscrowd: a region of many, no box of one")
                continue
            category = categories[entry["category_id"]]
            if not category:
                yield Dropped(self.name, item, "unlabeled", f"category id {entry['category_id']} has no name")
                continue
            try:
                box = self._box(entry, width, height)
            except BoxError as error:
                yield Dropped(self.name, item, error.reason, str(error))
                continue
            found[category].append((box, entry["id"]))
        for k, (category, named) in enumerate(found.items(), 1):
            yield Record(
                id=f"{self.name}/{image['file_name']}" + (f"#{k}" if len(found) > 1 else ""),
                source=self.name,
                image=image["file_name"],
                width=width,
                height=height,
                boxes=tuple(box for box, _ in named),
                category=category,
                modality=str(image.get("modality") or self.modality or "unknown"),
                group=self._group(image),
                provenance={"raw": [number for _, number in named]},
            )

    def _box(self, entry: Entry, width: int, height: int) -> Box:
        try:
            x, y, w, h = map(float, entry["bbox"])
        except OverflowError:
            raise BoxError("malformed", "bbox has a number too large for a float") from None
        if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
            raise InputError(
                f"{self.file}: annotation id {entry['id']}: bbox {entry['bbox']} reaches beyond its picture of "
                f"{width}x{height}: give x, y, width, height in pixels of the stored picture"
            )
        return Box.from_xywh((x, y, w, h), width, height)

    def _check_size(self, image: Entry, width: int, height: int) -> None:
        said = image.get("width") or width, image.get("height") or height
        if said != (width, height):
            raise InputError(
                f"{self.file}: image id {image['id']}: {image['file_name']} is {width}x{height}, not "
                f"{said[0]}x{said[1]}: its boxes may be of another size; correct both"
            )

    def _group(self, image: Entry) -> str:
        if image.get("group") is not None:
            return str(image["group"])
        if self.group_regex is None:
            return str(image["file_name"])
        match = self.group_regex.search(image["file_name"])
        found = match and match[1 if match.re.groups else 0]
        if not found:
            raise InputError(
                f"{self.name}: group_regex={self.group_regex.pattern} finds nothing in {image['file_name']}: "
                "it must name the patient of every picture"
            )
        return found

    def _inside(self, image: Entry) -> Path:
        path = self.root / image["file_name"]
        real = Path(os.path.realpath(path))  # Path.resolve raises where links go round in a circle
        if Path(image["file_name"]).is_absolute() or not real.is_relative_to(self.root.resolve()):
            raise InputError(
                f"{self.file}: image id {image['id']}: {image['file_name']} leads out of {self.root}: "
                "move the picture there"
            )
        return path

    def _look(self, path: Path) -> tuple[int, int, bytes]:
        """The real size and a digest of the pixels; the whole file is decoded, so a truncated one is found here."""
        with Image.open(path) as picture:
            check_depth(picture, path)
            picture.load()
            head = f"{picture.mode} {picture.size}".encode()
            return *picture.size, hashlib.sha256(head + picture.convert("RGB").tobytes()).digest()

    def _load(self) -> dict[str, list[Entry]]:
        if not self.root.is_dir():
            raise InputError(f"{self.name}: no folder {self.root}: set its root")
        if not self.file.is_file():
            raise InputError(f"{self.name}: no file {self.file}: a COCO file is expected there, or set annotations")
        try:
            coco = json.loads(self.file.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.file}: not JSON ({error}): a COCO file is expected") from None
        if not isinstance(coco, dict):
            raise InputError(f"{self.file}: a JSON object is expected, found {type(coco).__name__}")
        for part in FIELDS:
            self._check(part, coco.get(part))
        return coco

    def _check(self, part: str, entries: Any) -> None:
        if not isinstance(entries, list):
            raise InputError(f"{self.file}: no list `{part}`: COCO needs images, annotations and categories")
        seen = set()
        for position, entry in enumerate(entries):
            where = f"{self.file}: {part}[{position}]"
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


def _plain(category: str) -> str:
    return " ".join(category.lower().replace("_", " ").split())
