"""Masks: a picture of 0 and 255 (or 0 and 1) beside each picture; every connected region is a box."""

import io
import logging
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from umed.boxes import Box
from umed.data.files import Unusable, list_files, normalize_category, read_inside
from umed.data.formats.mask_values import find_object
from umed.data.frames import Frame
from umed.data.picture_finder import key_by_stem
from umed.data.sources.base import Picture, Region
from umed.errors import InputError
from umed.pictures import UNREADABLE, read_stored
from umed.records import Dropped
from umed.run_files import make_printable

log = logging.getLogger(__name__)

PICTURES = "images"
HINT = "masks/<category>/<name>.png"
SPECK = 10  # pixels; JPEG leaves smaller specks around an edge
TOUCHING = np.ones((3, 3), int)  # also at corners


def read_regions(root: Path, file: str, category: str) -> list[Region]:
    """The connected regions from top to bottom. Raises Unusable: `malformed`: no picture inside, no mask's values."""
    try:
        with read_stored(io.BytesIO(read_inside(root, file)), root / file) as picture:
            lossy = picture.format in ("JPEG", "MPO")
            inside, value = find_object(picture, lossy)
            views = picture.info.get("views", (1, 1))
    except UNREADABLE as error:
        raise Unusable("malformed", f"{file}: {error}") from None
    except Unusable as error:
        raise Unusable("malformed", str(error)) from None
    height, width = inside.shape
    frame = Frame(width, height, views=views)
    labels, count = ndimage.label(inside, TOUCHING)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = [
        Box.from_xyxy((columns.start, rows.start, columns.stop, rows.stop), width, height)
        for (rows, columns), size in zip(ndimage.find_objects(labels), sizes, strict=True)
        if size >= (SPECK if lossy else 1)
    ]
    return [
        Region(
            category=category,
            box=partial(_keep, box),
            where=f"{file} region {k}",
            raw={"mask": file, "region": k, "value": value},
            frame=frame,
        )
        for k, box in enumerate(boxes, 1)
    ]


def list_pictures(root: Path, annotations: str, source: str, category: str | None) -> Iterator[Picture | Dropped]:
    """Every file below `images/` with its masks; black masks say that nothing is abnormal.

    `category`: of all masks, which then lie as the pictures do; None = each folder in `masks/` is a category. Raises
    InputError: no pictures, no masks, or no category for a mask.
    """
    images = list_files(root / PICTURES)
    key = key_by_stem(images)
    masks: dict[str, list[tuple[str, str]]] = defaultdict(list)  # stem of the picture -> category, file
    for name in list_files(root / annotations):
        folder, _, rest = name.partition("/")
        if category is None and not rest:
            where = f"{root / annotations}: {make_printable(name)}"
            raise InputError(f"{where} has no category: set category, or use {HINT}")
        mask = normalize_category(category or folder), f"{annotations}/{name}"
        masks[key(name if category else rest)].append(mask)
    for folder, files in ((PICTURES, images), (annotations, masks)):
        if not files:
            raise InputError(f"{root / folder}: no file: {PICTURES}/<name>.* and {HINT} are expected")
    file_of: dict[tuple[str, int], str] = {}  # category and value of an object -> the first mask that has it
    for name in images:
        picture = _list_picture(root, f"{PICTURES}/{name}", masks.get(key(name), []), source)
        for region in picture.regions if isinstance(picture, Picture) else ():
            file_of.setdefault((region.category, region.raw["value"]), region.raw["mask"])
        yield picture
    for name, value in file_of:
        if value > 1 and (name, 1) in file_of:
            log.warning(
                f"{source}: {name}: the object is {value} in {file_of[name, value]} and 1 in {file_of[name, 1]}: where "
                f"{value} means that a region is not judged, its box is wrong"
            )
    for stem in sorted(masks.keys() - set(map(key, images))):
        for _, file in masks[stem]:
            yield Dropped(source, file, "missing_file", f"no picture of this name in {PICTURES}")


def _list_picture(root: Path, image: str, masks: list[tuple[str, str]], source: str) -> Picture | Dropped:
    regions: list[Region] = []
    for category, file in masks:
        try:
            regions += read_regions(root, file, category)
        except Unusable as error:
            return Dropped(source, image, error.reason, str(error))
    without = "no finding" if masks else "no mask"
    return Picture(image, image, "", regions, without=without, is_control=bool(masks) and not regions)


def _keep(box: Box, width: float, height: float) -> Box:
    return box
