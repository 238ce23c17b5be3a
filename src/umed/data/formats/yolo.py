"""YOLO: `images/` and `labels/` side by side, per split or flat; one line `class xc yc w h` in [0, 1] per box."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from umed.boxes import Box
from umed.data.files import (
    Unusable,
    decode_text,
    drop_suffix,
    list_files,
    normalize_category,
    parse_finite,
    read_inside,
    read_yaml,
)
from umed.data.formats import SPLIT_WORDS, parse_numbers
from umed.data.formats.yolo_columns import BOX, SLACK, Columns, find_columns
from umed.data.picture_finder import key_by_stem
from umed.data.sources.base import Picture, Region
from umed.errors import InputError
from umed.records import Dropped
from umed.run_files import make_printable


@dataclass(frozen=True)
class _Labels:
    """What all label files share."""

    root: Path
    categories: Mapping[int, str]
    columns: Columns


def list_pictures(root: Path, annotations: str, source: str) -> Iterator[Picture | Dropped]:
    """Every file below `images/`; an empty or missing label file says that nothing is abnormal.

    Both `train/images/` and `images/train/` are read; the paths in `data.yaml` are not, they rarely exist. Raises
    InputError: no `data.yaml` with `names`, no `images/`; a class without a name; numbers outside [0, 1]; columns that
    can be two things.
    """
    categories = read_class_names(root / annotations)
    folders = [folder for folder in (root / "images", *sorted(root.glob("*/images"))) if folder.is_dir()]
    if not folders:
        raise InputError(f"{root}: no folder images and none train/images: YOLO needs images/ and labels/ side by side")
    pairs = [pair for folder in folders for pair in _pair_files(root, folder)]
    lines = (
        (root / label, fields)
        for _, label, _ in pairs
        if label
        for fields in _read_lines(root, label, ignore=True).values()
    )
    content = read_yaml(root / annotations, "a YAML file with names")
    labels = _Labels(root, categories, find_columns(root / annotations, content, lines))
    for image, label, split in pairs:
        if image:
            yield _list_picture(labels, image, label, split, source)
        else:
            yield Dropped(source, label, "missing_file", "no picture of this name in images/")


def _pair_files(root: Path, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Image, label and split of each picture of a folder, then the labels without a picture; "" = there is none."""
    images, labels = (str(path.relative_to(root)) for path in (folder, folder.with_name("labels")))
    files = list_files(folder)
    key = key_by_stem(files)
    label_of = {key(name): f"{labels}/{name}" for name in list_files(root / labels) if name.lower().endswith(".txt")}
    for name in files:
        first = name.split("/")[0] if "/" in name else ""
        split = folder.parent.name if folder.parent != root else first if first in SPLIT_WORDS else ""
        label = f"{labels}/{drop_suffix(name)}.txt"
        # lexists: a folder of this name counts, and is no label file
        yield f"{images}/{name}", label_of.get(key(name), label if os.path.lexists(root / label) else ""), split
    for stem in sorted(label_of.keys() - set(map(key, files))):
        yield "", label_of[stem], ""


def read_class_names(file: Path, counted: bool = False) -> dict[int, str]:
    """Index -> category of `names`; `counted`: also check `nc`. Raises InputError: no such file, YAML or names."""
    content = read_yaml(file, "a YAML file with names")
    names = content.get("names")
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not numbered:
        raise InputError(f"{file}: no names: a list of the classes is expected, or a map index -> name")
    if counted and str(content.get("nc", len(numbered))) != str(len(numbered)):
        raise InputError(f"{file}: nc is not the number of names, which is {len(numbered)}: correct one of them")
    categories = {}
    for index, name in numbered.items():
        if type(index) not in (int, str) or not re.fullmatch("[0-9]{1,9}", str(index)) or type(name) is not str:
            found = f"{type(index).__name__} with {type(name).__name__}"
            raise InputError(f"{file}: names: an index with a name in quotes is expected, found {found}")
        categories[int(index)] = normalize_category(name)
    return categories


def _read_lines(root: Path, label: str, ignore: bool = False) -> dict[int, list[str]]:
    """The fields of each line that has some, by its number. Raises Unusable, unless it is to be ignored."""
    try:
        text = decode_text(read_inside(root, label))
    except Unusable:
        if ignore:
            return {}
        raise
    return {number: line.split() for number, line in enumerate(text.splitlines(), 1) if line.strip()}


def _list_picture(labels: _Labels, image: str, label: str, split: str, source: str) -> Picture | Dropped:
    try:
        lines = _read_lines(labels.root, label) if label else {}
    except Unusable as error:
        return Dropped(source, image, "malformed", str(error))
    regions = [_parse_line(labels, label, number, fields) for number, fields in lines.items()]
    return Picture(image, image, "", regions, "", split, without="no finding", is_control=not regions)


def _parse_line(labels: _Labels, label: str, number: int, fields: list[str]) -> Region:
    """The region of a line. Raises InputError: a class that has no name, or numbers that are no fractions."""
    where, cells = f"{labels.root / label}:{number}", fields[1:]
    found = make_printable(fields[0][:40])
    try:
        [index] = parse_finite(fields[:1])  # numpy writes 0 as 0.000000000000000000e+00
    except ValueError:
        index = 0.5
    if not index.is_integer():
        raise InputError(f"{where}: class {found}: an index into names of data.yaml is expected")
    if index not in labels.categories:
        raise InputError(f"{where}: class {found} is not in names of data.yaml: correct one of them")
    with suppress(ValueError):  # cells that are no numbers are reported when the box is made
        outside = [v for v in parse_finite(labels.columns.select(cells)) if not -SLACK <= v <= 1 + SLACK]
        if outside:
            raise InputError(
                f"{where}: {outside[0]:g} is outside [0, 1]: YOLO needs fractions of the picture, not pixels"
            )
    category = labels.categories[int(index)]
    return Region(category, partial(_make_box, labels.columns, cells), f"line {number}", " ".join(fields)[:1000])


def _make_box(columns: Columns, cells: list[str], width: float, height: float) -> Box:
    selected = columns.select(cells)
    numbers = parse_numbers(selected, len(selected))
    return Box.from_cxcywh(numbers) if len(numbers) == BOX - 1 else Box.from_points(numbers, 1, 1)
