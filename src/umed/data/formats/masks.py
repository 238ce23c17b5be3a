"""Masks: a picture of 0 and 255 (or 0 and 1) beside each picture; every connected region is a box."""

import io
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from umed.boxes import Box, BoxError
from umed.data.look import Unusable, check_inside
from umed.data.sources.base import Picture, Region, plain
from umed.data.sources.files import files_below, printable
from umed.errors import InputError
from umed.pictures import UNREADABLE, stored
from umed.records import Dropped

PICTURES = "images"
HINT = "masks/<category>/<name>.png"
SPECK = 10  # pixels; JPEG leaves smaller specks around an edge
TOUCHING = np.ones((3, 3), int)  # also at corners


@dataclass(frozen=True, slots=True)
class Mask:
    """Boxes of the connected regions of a mask, and its size."""

    boxes: tuple[Box, ...]
    width: int
    height: int

    def box(self, k: int, width: int, height: int) -> Box:
        """The k-th box, for a picture of this size.

        Raises:
            BoxError: `malformed`: the mask is of another size.
        """
        if (width, height) != (self.width, self.height):
            detail = f"a mask of {self.width}x{self.height} for a picture of {width}x{height}"
            raise BoxError("malformed", detail)
        return self.boxes[k]


def read_mask(root: Path, file: str) -> Mask:
    """The regions of a mask, from top to bottom.

    Raises:
        Unusable: it leads out of the root, is no picture, or has other values than 0 and 255 or 0 and 1.
    """
    check_inside(root, file)
    path = root / file
    if not path.is_file():
        raise Unusable("malformed", f"{file} is no file")
    try:
        with stored(io.BytesIO(path.read_bytes()), path) as picture:
            lossy = picture.format == "JPEG"
            gray = picture if picture.mode in ("L", "1", "P") or picture.mode[0] in "IF" else picture.convert("L")
            values = np.asarray(gray)
    except UNREADABLE as error:
        raise Unusable("malformed", f"{file}: {error}") from None
    top = values.max()
    if not lossy and 1 < top < 128:
        raise Unusable("malformed", f"{file}: values up to {top}: a mask has 0 and 255, or 0 and 1")
    inside = values > 0 if top <= 1 and not lossy else values >= 128
    height, width = inside.shape
    labels, count = ndimage.label(inside, TOUCHING)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = tuple(
        Box.from_xyxy((columns.start, rows.start, columns.stop, rows.stop), width, height)
        for (rows, columns), size in zip(ndimage.find_objects(labels), sizes, strict=True)
        if size >= (SPECK if lossy else 1)
    )
    return Mask(boxes, width, height)


def regions_of(root: Path, file: str, category: str) -> list[Region]:
    """The regions of a mask as regions of its picture; see `read_mask`."""
    mask = read_mask(root, file)
    return [
        Region(category, partial(mask.box, k), f"{file} region {k + 1}", {"mask": file, "region": k + 1})
        for k in range(len(mask.boxes))
    ]


def pictures(root: Path, annotations: str, source: str, category: str | None) -> Iterator[Picture | Dropped]:
    """Every file below `images/` with its masks; black masks say that nothing is to be found.

    Args:
        category: of all masks, which then lie as the pictures do; None = each folder in `masks/` is a category.

    Raises:
        InputError: no pictures, no masks, or no category for a mask.
    """
    found = files_below(root / PICTURES)
    masks: dict[str, list[tuple[str, str]]] = defaultdict(list)  # stem of the picture -> category, file
    for name in files_below(root / annotations):
        folder, _, rest = name.partition("/")
        if category is None and not rest:
            raise InputError(f"{root / annotations}: {printable(name)} has no category: set category, or use {HINT}")
        masks[_stem(name if category else rest)].append((plain(category or folder), f"{annotations}/{name}"))
    for folder, there in ((PICTURES, found), (annotations, masks)):
        if not there:
            raise InputError(f"{root / folder}: no file: {PICTURES}/<name>.* and {HINT} are expected")
    for name in found:
        yield _picture(root, f"{PICTURES}/{name}", masks.get(_stem(name), []), source)
    stems = set(map(_stem, found))
    for stem in masks.keys() - stems:
        for _, file in masks[stem]:
            yield Dropped(source, printable(file), "missing_file", f"no picture of this name in {PICTURES}")


def _picture(root: Path, image: str, masks: list[tuple[str, str]], source: str) -> Picture | Dropped:
    regions: list[Region] = []
    for category, file in masks:
        try:
            regions += regions_of(root, file, category)
        except Unusable as error:
            return Dropped(source, printable(image), error.reason, printable(str(error)))
    without = "no finding" if masks else "no mask"
    return Picture(image, image, "", regions, without=without, is_control=bool(masks) and not regions)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]
