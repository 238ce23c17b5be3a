"""KidneyStone: CT slices with YOLO labels, as Roboflow exports them."""

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from umed.boxes import Box
from umed.data.look import Unusable, check_inside
from umed.data.sources.base import Picture, PictureSource, Region, plain
from umed.data.sources.files import as_text, finite, printable, read_text
from umed.errors import InputError
from umed.records import Dropped, is_text

ALIASES = {"tas var": "kidney stone"}  # Turkish: there is a stone
PARTS = ("train", "valid", "test")
SUFFIXES = (".jpg", ".jpeg", ".png")
_UID = re.compile(r"([0-9]+(?:-[0-9]+){2,})-[0-9]+(?:_.*)?")


class KidneyStoneSource(PictureSource):
    """Slices with boxes of stones; the copies that augmentation made of one slice, and its neighbors, are one group.

    Args:
        root: folder with `data.yaml` and `train/`, `valid/`, `test/`, each with `images/` and `labels/`. The paths in
            `data.yaml` lead nowhere once the archive is unpacked and are not read.
        name: of the source in records and metrics.
    """

    def __init__(self, root: str | Path, name: str = "kidney_stone") -> None:
        super().__init__(root, name)

    def pictures(self) -> Iterator[Picture | Dropped]:
        """Folder by folder, by file name; a wrong line of a label file is `<folder>/<picture> line <number>`."""
        names = self._names()
        if not any((self.root / part / "images").is_dir() for part in PARTS):
            raise InputError(f"{self.name}: no train/images, valid/images or test/images in {self.root}: unpack it all")
        for part in PARTS:
            labels = {os.path.splitext(f)[0]: f for f in _files(self.root / part / "labels") if f.endswith(".txt")}
            used = set()
            for file in _files(self.root / part / "images"):
                stem, suffix = os.path.splitext(file)
                name = f"{part}/{file}"
                if not is_text(file):
                    yield Dropped(self.name, printable(name), "malformed", "a file name that is not UTF-8")
                elif suffix.lower() not in SUFFIXES:
                    yield Dropped(self.name, name, "unreadable", f"not one of {', '.join(SUFFIXES)}")
                else:
                    label = labels.get(stem)
                    yield from self._labeled(part, file, f"{part}/labels/{label}" if label else "", names)
                used.add(stem)
            for stem in sorted(labels.keys() - used):
                item = f"{part}/{printable(labels[stem])}"
                yield Dropped(self.name, item, "missing_file", "a label file without a picture")

    def _labeled(self, part: str, file: str, label: str, names: dict[int, str]) -> Iterator[Picture | Dropped]:
        """The lines that are dropped, then the picture unless no line is left."""
        name = f"{part}/{file}"
        try:
            lines = self._lines(label)
        except Unusable as error:
            yield Dropped(self.name, name, error.reason, str(error))
            return
        regions = []
        for number, line in lines:
            try:
                category, numbers = _values(line, names)
            except ValueError as error:
                yield Dropped(self.name, f"{name} line {number}", "malformed", str(error))
                continue
            regions.append(Region(category, partial(_box, numbers), f"line {number}", line))
        if regions or not lines:
            yield Picture(
                image=f"{part}/images/{file}",
                name=name,
                modality="CT",
                regions=regions,
                group=_group(file),
                official_split=part,
                without="an empty label file" if label else "no label file",
            )

    def _lines(self, label: str) -> list[tuple[int, str]]:
        """The lines of a label file that are not blank, with their numbers."""
        if not label:
            return []
        try:
            check_inside(self.root, label)
            if not (self.root / label).is_file():  # a pipe would hold us for ever
                raise Unusable("unreadable", f"{label}: not a file")
            text = as_text((self.root / label).read_bytes())
        except OSError as error:
            raise Unusable("unreadable", f"{label}: {error.strerror}") from None
        return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]

    def _names(self) -> dict[int, str]:
        """Class number -> category, from `data.yaml`."""
        path = self.root / "data.yaml"
        try:
            found = yaml.safe_load(read_text(path, "the names of the classes"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            told = getattr(error, "problem", None) or type(error).__name__
            raise InputError(f"{path}: not YAML ({printable(told)}): the names of the classes are expected") from None
        names = found.get("names") if isinstance(found, dict) else None
        if isinstance(names, list):
            names = dict(enumerate(names))
        if not isinstance(names, dict) or not names:
            raise InputError(f"{path}: no names: a list of class names or a mapping from their numbers is expected")
        if str(found.get("nc", len(names))) != str(len(names)):
            raise InputError(f"{path}: nc is not the number of names, which is {len(names)}: correct one of them")
        return {_class_number(path, key): _category(path, name) for key, name in names.items()}


def _class_number(path: Path, key: Any) -> int:
    if isinstance(key, bool) or not isinstance(key, int | str) or not re.fullmatch("[0-9]{1,9}", str(key)):
        raise InputError(f"{path}: names: a class number is expected, found {type(key).__name__}")
    return int(key)


def _category(path: Path, name: Any) -> str:
    if not isinstance(name, str):
        raise InputError(f"{path}: names: a class name in quotes is expected, found {type(name).__name__}")
    return ALIASES.get(plain(name), plain(name))


def _files(folder: Path) -> list[str]:
    """Names of the files in a folder, sorted; hidden ones are left out, and no folder holds none."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not e.name.startswith("."))


def _values(line: str, names: dict[int, str]) -> tuple[str, tuple[float, ...]]:
    """Category and center, size as shares of the picture; ValueError: no such line."""
    fields = line.split()
    if len(fields) != 5:
        raise ValueError(f"{len(fields)} fields, 5 are expected: class, center x, center y, width, height")
    number, *numbers = finite(fields)
    if number not in names:
        raise ValueError(f"data.yaml names no class {number:g}")
    if not all(0 <= v <= 1 for v in numbers):
        raise ValueError(f"a number outside 0 to 1: {printable(line)}")
    category = names[int(number)]
    if not is_text(category):
        raise ValueError(f"the class is called {printable(category)}")
    return category, tuple(numbers)


def _box(numbers: tuple[float, ...], width: int, height: int) -> Box:
    return Box.from_cxcywh(numbers)


def _group(file: str) -> str:
    """The name that all copies of a slice share, without the last part of a UID, in which its neighbors differ."""
    stem = file.rpartition(".rf.")[0] or os.path.splitext(file)[0]
    match = _UID.fullmatch(stem)
    return match[1] if match else stem
