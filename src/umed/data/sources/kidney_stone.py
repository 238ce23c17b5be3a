"""KidneyStone: CT slices with YOLO labels, as Roboflow exports them."""

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from umed.boxes import Box
from umed.data.files import Unusable, decode_text, drop_suffix, parse_finite, read_inside
from umed.data.formats.yolo import read_class_names
from umed.data.sources.base import Picture, PictureSource, Region
from umed.errors import InputError
from umed.records import Dropped
from umed.run_files import make_printable

ALIASES = {"tas var": "kidney stone"}  # Turkish: there is a stone
PARTS = ("train", "valid", "test")
SUFFIXES = (".jpg", ".jpeg", ".png")
_UID = re.compile(r"([0-9]+(?:-[0-9]+){2,})-[0-9]+(?:_.*)?")


class KidneyStoneSource(PictureSource):
    """Slices with boxes of stones; the copies that augmentation made of one slice, and its neighbors, are one group.

    A slice with an empty label file is a control: the file states that it has no stone.

    `root`: folder with `data.yaml` and `train/`, `valid/`, `test/`, each with `images/` and `labels/`. The paths in
    `data.yaml` are not read: they do not exist after unpacking.
    """

    name = "kidney_stone"
    orientation = "shown"  # as in all YOLO labels

    def list_pictures(self) -> Iterator[Picture | Dropped]:
        """Folder by folder, by file name; a wrong line of a label file is `<folder>/<picture> line <number>`."""
        names = read_class_names(self.root / "data.yaml", counted=True)
        categories = {number: ALIASES.get(name, name) for number, name in names.items()}
        if not any((self.root / part / "images").is_dir() for part in PARTS):
            raise InputError(f"{self.name}: no train/images, valid/images or test/images in {self.root}: unpack it all")
        for part in PARTS:
            labels = {drop_suffix(f): f for f in _list_names(self.root / part / "labels") if f.endswith(".txt")}
            files = _list_names(self.root / part / "images")
            for file in files:
                stem, suffix = os.path.splitext(file)
                if suffix.lower() in SUFFIXES:
                    label = f"{part}/labels/{labels[stem]}" if stem in labels else ""
                    yield from self._list_labeled(part, file, label, categories)
                else:
                    yield Dropped(self.name, f"{part}/{file}", "unreadable", f"not one of {', '.join(SUFFIXES)}")
            for stem in sorted(labels.keys() - set(map(drop_suffix, files))):
                yield Dropped(self.name, f"{part}/{labels[stem]}", "missing_file", "a label file without a picture")

    def _list_labeled(
        self, part: str, file: str, label: str, categories: dict[int, str]
    ) -> Iterator[Picture | Dropped]:
        """The lines that are dropped, then the picture unless no line is left."""
        name = f"{part}/{file}"
        try:
            text = decode_text(read_inside(self.root, label)) if label else ""
        except Unusable as error:
            yield Dropped(self.name, name, error.reason, str(error))
            return
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        regions = []
        for number, line in lines:
            try:
                category, numbers = _parse_line(line, categories)
            except ValueError as error:
                yield Dropped(self.name, f"{name} line {number}", "malformed", str(error))
                continue
            regions.append(Region(category, partial(_make_box, numbers), f"line {number}", line))
        if regions or not lines:
            yield Picture(
                image=f"{part}/images/{file}",
                name=name,
                modality="CT",
                regions=regions,
                group=_find_group(file),
                official_split=part,
                without="an empty label file" if label else "no label file",
                is_control=bool(label),
            )


def _list_names(folder: Path) -> list[str]:
    """Names in a folder, sorted, without hidden ones; none if there is no such folder."""
    return sorted(name for name in os.listdir(folder) if not name.startswith(".")) if folder.is_dir() else []


def _parse_line(line: str, categories: dict[int, str]) -> tuple[str, tuple[float, ...]]:
    """Category and center, size as shares of the picture; ValueError: no such line."""
    fields = line.split()
    if len(fields) != 5:
        raise ValueError(f"{len(fields)} fields, 5 are expected: class, center x, center y, width, height")
    number, *numbers = parse_finite(fields)
    if number not in categories:
        raise ValueError(f"data.yaml names no class {number:g}")
    if not all(0 <= v <= 1 for v in numbers):
        raise ValueError(f"a number outside 0 to 1: {make_printable(line)}")
    return categories[int(number)], tuple(numbers)


def _make_box(numbers: tuple[float, ...], width: float, height: float) -> Box:
    return Box.from_cxcywh(numbers)


def _find_group(file: str) -> str:
    """The name that all copies of a slice share, without the last part of a UID, in which its neighbors differ."""
    stem = file.rpartition(".rf.")[0] or drop_suffix(file)
    match = _UID.fullmatch(stem)
    return match[1] if match else stem
