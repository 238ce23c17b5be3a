"""Annotation formats of the user's own pictures: each `list_pictures` reads files and opens no picture."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from umed.boxes import BoxError
from umed.data.files import parse_finite
from umed.data.sources.base import Picture
from umed.records import Dropped

_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}
SPLIT_WORDS = {word: split for split, words in _WORDS.items() for word in words}
CONVENTIONS = ("xyxy", "xywh", "voc")
Corners = tuple[float, float, float, float]
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


def parse_degrees(value: object) -> float:
    """An angle; None and "" are 0. Raises BoxError: `malformed`: no number."""
    try:
        return parse_finite([str(value)])[0] if value is not None and value != "" else 0.0
    except ValueError as error:
        raise BoxError("malformed", f"rotation: {error}") from None


def parse_corners(cells: Sequence[object], convention: str) -> Corners:
    """The corners, 0-based and half-open, that four cells mean. Raises BoxError: no numbers.

    `convention`: `xyxy`: 0-based, half-open; `xywh`: top-left corner and size; `voc`: 1-based corners, both inside.
    """
    a, b, c, d = parse_numbers(cells)
    shift = convention == "voc"  # the pixel xmin starts at xmin - 1 and the pixel xmax ends at xmax
    return (a, b, a + c, b + d) if convention == "xywh" else (a - shift, b - shift, c, d)


def turn_corners(corners: Corners, degrees: float) -> Corners:
    """The corners around a rectangle that is turned about its center."""
    x0, y0, x1, y1 = corners
    if not degrees % 180 or x1 <= x0 or y1 <= y0:
        return corners
    cos, sin = (abs(f(math.radians(degrees % 180))) / 2 for f in (math.cos, math.sin))
    across, down = (x1 - x0) * cos + (y1 - y0) * sin, (x1 - x0) * sin + (y1 - y0) * cos
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return x - across, y - down, x + across, y + down


def refuse_turned(rotation: object) -> None:
    """Raise BoxError for an angle in a place where no known program writes one."""
    if parse_degrees(rotation) % 360:
        raise BoxError("malformed", f"rotation {rotation}: a box that is turned about an unknown point")
