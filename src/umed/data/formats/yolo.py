"""YOLO: `images/` and `labels/` side by side, per split or flat; one line `class xc yc w h` in [0, 1] per box."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from umed.boxes import Box, BoxError
from umed.data.files import Unusable, drop_suffix, list_files, normalize_category, parse_finite, read_inside, read_yaml
from umed.data.formats import SPLIT_WORDS, parse_numbers
from umed.data.sources.base import Picture, Region
from umed.errors import InputError
from umed.records import Dropped

SLACK = 1e-3  # a fraction may be this far outside [0, 1]: exporters round


def list_pictures(root: Path, annotations: str, source: str) -> Iterator[Picture | Dropped]:
    """Every file below `images/`; an empty or missing label file says that nothing is abnormal.

    Both `train/images/` and `images/train/` are read; the paths in `data.yaml` are not, they rarely exist. Raises
    InputError: no `data.yaml` with `names`, no `images/`; a class without a name; numbers outside [0, 1].
    """
    categories = read_class_names(root / annotations)
    folders = [folder for folder in (root / "images", *sorted(root.glob("*/images"))) if folder.is_dir()]
    if not folders:
        raise InputError(f"{root}: no folder images and none train/images: YOLO needs images/ and labels/ side by side")
    for folder in folders:
        images, labels = (str(path.relative_to(root)) for path in (folder, folder.with_name("labels")))
        files = list_files(folder)
        for name in files:
            first = name.split("/")[0] if "/" in name else ""
            split = folder.parent.name if folder.parent != root else first if first in SPLIT_WORDS else ""
            label = f"{labels}/{drop_suffix(name)}.txt"
            yield _list_picture(root, f"{images}/{name}", label, split, categories, source)
        stems = set(map(drop_suffix, files))
        for label in list_files(root / labels):
            if label.endswith(".txt") and drop_suffix(label) not in stems:
                yield Dropped(source, f"{labels}/{label}", "missing_file", f"no picture of this name in {images}")


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


def _list_picture(
    root: Path, image: str, label: str, split: str, categories: Mapping[int, str], source: str
) -> Picture | Dropped:
    try:
        text = read_inside(root, label).decode("utf-8-sig", "replace") if os.path.lexists(root / label) else ""
    except Unusable as error:
        return Dropped(source, image, "malformed", str(error))
    regions = [
        _parse_line(root / label, number, line.split(), categories)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    return Picture(image, image, "", regions, "", split, without="no finding", is_control=not regions)


def _parse_line(file: Path, number: int, fields: list[str], categories: Mapping[int, str]) -> Region:
    """The region of a line. Raises InputError: a class that has no name, or numbers that are no fractions."""
    where, cells = f"{file}:{number}", fields[1:]
    try:
        index = int(fields[0])
    except ValueError:
        raise InputError(f"{where}: class {fields[0][:40]}: an index into names of data.yaml is expected") from None
    if index not in categories:
        raise InputError(f"{where}: class {index} is not in names of data.yaml: correct one of them")
    with suppress(ValueError):  # cells that are no numbers are reported when the box is made
        outside = [v for v in parse_finite(cells) if not -SLACK <= v <= 1 + SLACK]
        if outside:
            raise InputError(
                f"{where}: {outside[0]:g} is outside [0, 1]: YOLO needs fractions of the picture, not pixels"
            )
    return Region(categories[index], partial(_make_box, cells), f"line {number}", " ".join(fields)[:1000])


def _make_box(cells: list[str], width: float, height: float) -> Box:
    if len(cells) <= 5:  # five: a box with something more, a polygon has an even number
        return Box.from_cxcywh(parse_numbers(cells))
    if len(cells) % 2:
        raise BoxError("malformed", f"{len(cells)} numbers are neither a box nor a polygon")
    return Box.from_points(parse_numbers(cells, len(cells)), 1, 1)
