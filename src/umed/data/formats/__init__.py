"""Annotation formats of the user's own pictures: each `list_pictures` reads files and opens no picture."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from umed.boxes import Box, BoxError
from umed.data.files import parse_finite
from umed.data.sources.base import Picture
from umed.errors import InputError
from umed.records import Dropped

_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}
SPLIT_WORDS = {word: split for split, words in _WORDS.items() for word in words}
CONVENTIONS = ("xyxy", "xywh", "voc")
SHARED = ("modality", "group", "official_split")  # by everything that is listed of one picture


def parse_numbers(cells: Sequence[object], count: int = 4) -> tuple[float, ...]:
    """The cells of a text file as finite numbers. Raises BoxError: `malformed`: too few or too many, or no numbers."""
    try:
        numbers = parse_finite(map(str, cells))
    except ValueError as error:
        raise BoxError("malformed", str(error)) from None
    if len(numbers) != count:
        raise BoxError("malformed", f"{count} numbers are expected, found {len(numbers)}")
    return numbers


def merge_pictures(items: Iterable[Picture | Dropped], source: str) -> Iterator[Picture | Dropped]:
    """The items, where a picture that is listed several times is one with all its boxes, unless they are at odds."""
    by_image: dict[str, list[Picture]] = defaultdict(list)
    for item in items:
        if isinstance(item, Picture):
            by_image[item.image].append(item)
        else:
            yield item
    for image, pictures in by_image.items():
        fields = {name: {getattr(p, name) for p in pictures} - {""} for name in SHARED}
        if at_odds := [name for name, values in fields.items() if len(values) > 1]:
            detail = f"listed {len(pictures)} times, with different {at_odds[0]}: make them one"
            yield Dropped(source, image, "malformed", detail)
            continue
        regions = [region for picture in pictures for region in picture.regions]
        is_control = not regions and all(picture.is_control for picture in pictures)
        shared: dict[str, Any] = {name: "".join(values) for name, values in fields.items()}
        yield replace(pictures[0], regions=regions, is_control=is_control, **shared)


def check_size(named: tuple[float, float], width: int, height: int, where: str) -> None:
    """Raise InputError if the file names another size (0 = none) than that of the stored picture."""
    named = named[0] or width, named[1] or height
    if named != (width, height):
        raise InputError(
            f"{where} is {width}x{height}, not {named[0]:g}x{named[1]:g}: its boxes may be of that size; correct both"
        )


def make_box(cells: Sequence[object], convention: str, width: int, height: int) -> Box:
    """The box of four cells in pixels of the stored picture.

    `convention`: `xyxy`: 0-based, half-open; `xywh`: top-left corner and size; `voc`: 1-based corners, both inside.
    Raises BoxError: no numbers, or no area inside the picture.
    """
    a, b, c, d = parse_numbers(cells)
    if convention == "xywh":
        return Box.from_xywh((a, b, c, d), width, height)
    shift = convention == "voc"  # the pixel xmin starts at xmin - 1 and the pixel xmax ends at xmax
    return Box.from_xyxy((a - shift, b - shift, c, d), width, height)
