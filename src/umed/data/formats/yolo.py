"""YOLO: `images/` and `labels/` side by side, per split or flat; one line `class xc yc w h` in [0, 1] per box."""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import yaml

from umed.boxes import Box, BoxError
from umed.data.formats import SPLIT_WORDS
from umed.data.formats.corners import numbers
from umed.data.look import Unusable, check_inside
from umed.data.sources.base import Picture, Region, plain
from umed.data.sources.files import files_below, printable, read_text
from umed.errors import InputError
from umed.records import Dropped

SLACK = 1e-3  # a fraction may be this far outside [0, 1]: exporters round


def pictures(root: Path, annotations: str, source: str) -> Iterator[Picture | Dropped]:
    """Every file below `images/`; an empty or missing label file says that nothing is to be found.

    Both `train/images/` and `images/train/` are read; the paths in `data.yaml` are not, they rarely lead anywhere.

    Raises:
        InputError: no `data.yaml` with `names`, no `images/`; a class without a name; numbers outside [0, 1].
    """
    names = class_names(root / annotations)
    folders = [folder for folder in (root / "images", *sorted(root.glob("*/images"))) if folder.is_dir()]
    if not folders:
        raise InputError(f"{root}: no folder images and none train/images: YOLO needs images/ and labels/ side by side")
    for folder in folders:
        images, labels = (str(path.relative_to(root)) for path in (folder, folder.with_name("labels")))
        split = folder.parent.name if folder.parent != root else ""
        found = files_below(folder)
        for name in found:
            first = name.split("/")[0]
            own = split or (first if first in SPLIT_WORDS and first != name else "")
            yield _picture(root, f"{images}/{name}", f"{labels}/{_stem(name)}.txt", own, names, source)
        stems = set(map(_stem, found))
        for label in files_below(root / labels):
            if label.endswith(".txt") and _stem(label) not in stems:
                item = printable(f"{labels}/{label}")
                yield Dropped(source, item, "missing_file", f"no picture of this name in {images}")


def class_names(file: Path) -> dict[int, str]:
    """Index -> category, from the list or map `names` of a `data.yaml`.

    Raises:
        InputError: no such file, no YAML, no names.
    """
    text = read_text(file, "a YAML file with names")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not YAML ({str(error)[:200]}): a file with names is expected") from None
    names = found.get("names") if isinstance(found, dict) else None
    numbered = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(numbered, dict) or not numbered:
        raise InputError(f"{file}: no names: a list of the classes is expected, or a map index -> name")
    numbered = {int(k) if isinstance(k, str) and k.isascii() and k.isdigit() else k: v for k, v in numbered.items()}
    for index, name in numbered.items():
        if type(index) is not int or type(name) is not str:
            raise InputError(f"{file}: names has an entry that is no index with a name: write names: [cyst, ...]")
    return {index: plain(name) for index, name in numbered.items()}


def _picture(
    root: Path, image: str, label: str, split: str, names: Mapping[int, str], source: str
) -> Picture | Dropped:
    try:
        lines = _lines(root, label)
    except Unusable as error:
        return Dropped(source, printable(image), error.reason, printable(str(error)))
    regions = [
        _region(root / label, number, line.split(), names) for number, line in enumerate(lines, 1) if line.strip()
    ]
    return Picture(
        image=image,
        name=image,
        modality="",
        regions=regions,
        official_split=split,
        without="no finding",
        is_control=not regions,
    )


def _lines(root: Path, label: str) -> list[str]:
    path = root / label
    if not os.path.lexists(path):
        return []
    check_inside(root, label)
    if not path.is_file():
        raise Unusable("malformed", f"{label} is no file")
    try:
        return path.read_bytes().decode("utf-8-sig", "replace").splitlines()
    except OSError as error:
        raise Unusable("malformed", f"{label} cannot be read ({error.strerror})") from None


def _region(file: Path, number: int, fields: list[str], names: Mapping[int, str]) -> Region:
    told, rest = f"{file}:{number}", fields[1:]
    try:
        index = int(fields[0])
    except ValueError:
        raise InputError(f"{told}: class {fields[0][:40]}: an index into names of data.yaml is expected") from None
    if index not in names:
        raise InputError(f"{told}: class {index} is not in names of data.yaml: correct one of them")
    try:
        found = numbers(rest, len(rest))
    except BoxError:
        found = ()  # told when the box is asked for
    outside = [v for v in found if not -SLACK <= v <= 1 + SLACK]
    if outside:
        raise InputError(f"{told}: {outside[0]:g} is outside [0, 1]: YOLO needs fractions of the picture, not pixels")
    return Region(names[index], partial(_box, rest), f"line {number}", " ".join(fields)[:1000])


def _box(fields: list[str], width: int, height: int) -> Box:
    if len(fields) <= 5:  # five: a box with something more, a polygon has an even number
        return Box.from_cxcywh(numbers(fields))
    if len(fields) % 2:
        raise BoxError("malformed", f"{len(fields)} numbers are neither a box nor a polygon")
    return Box.from_points(numbers(fields, len(fields)), 1, 1)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]
