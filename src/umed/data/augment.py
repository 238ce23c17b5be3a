"""Flips that move the picture, the boxes and the words for sides together; off by default."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from PIL import Image

from umed.boxes import Box
from umed.errors import InputError, chosen
from umed.records import Record

HORIZONTAL = (("left", "right"), ("leftmost", "rightmost"), ("leftward", "rightward"), ("leftwards", "rightwards"))
VERTICAL = (
    ("upper", "lower"),
    ("uppermost", "lowermost"),
    ("top", "bottom"),
    ("superior", "inferior"),
    ("superiorly", "inferiorly"),
    ("above", "below"),
    ("upward", "downward"),
    ("upwards", "downwards"),
)


def _swaps(*pairs: tuple[str, str]) -> tuple[re.Pattern[str], dict[str, str]]:
    """Every word of the pairs as a whole word (`left-sided`, not `leftover`), and what stands in its place."""
    other = {**dict(pairs), **{b: a for a, b in pairs}}
    forms = {form(a): form(b) for a, b in other.items() for form in (str.lower, str.upper, str.capitalize)}
    letter = r"[^\W\d_]"
    return re.compile(rf"(?<!{letter})(?:{'|'.join(forms)})(?!{letter})"), forms


_TRANSPOSE = {"horizontal": Image.Transpose.FLIP_LEFT_RIGHT, "vertical": Image.Transpose.FLIP_TOP_BOTTOM}
_SWAPS = {"horizontal": _swaps(*HORIZONTAL), "vertical": _swaps(*VERTICAL)}


@dataclass(frozen=True, slots=True)
class Flips:
    """How often each flip happens; whether it does is a pure function of (seed, place in the batch plan)."""

    horizontal: float
    vertical: float
    seed: int

    @classmethod
    def of(cls, augment: Mapping[str, float], seed: int) -> Self | None:
        """From `data.augment`; None if nothing is ever flipped.

        Raises:
            InputError: another kind of augmentation, or a probability outside [0, 1].
        """
        for name, share in augment.items():
            chosen("data.augment", name, "horizontal_flip", "vertical_flip")
            if not isinstance(share, int | float) or not 0 <= share <= 1:
                raise InputError(f"data.augment.{name}={share}: a probability from 0 to 1 is expected")
        flips = cls(augment["horizontal_flip"], augment["vertical_flip"], seed)
        return flips if flips.horizontal or flips.vertical else None

    def __call__(self, picture: Image.Image, record: Record, place: int) -> tuple[Image.Image, Record]:
        """The picture and record that stand at this place of the plan, flipped or not."""
        draw = random.Random(f"flips/{self.seed}/{place}")
        if draw.random() < self.horizontal:
            picture, record = flip_horizontally(picture, record)
        if draw.random() < self.vertical:
            picture, record = flip_vertically(picture, record)
        return picture, record


def flip_horizontally(picture: Image.Image, record: Record) -> tuple[Image.Image, Record]:
    """Left and right exchanged, in pixels, boxes and words."""
    boxes = tuple(Box(1 - b.x1, b.y0, 1 - b.x0, b.y1) for b in record.boxes)
    return picture.transpose(_TRANSPOSE["horizontal"]), _reworded(record, boxes, "horizontal")


def flip_vertically(picture: Image.Image, record: Record) -> tuple[Image.Image, Record]:
    """Top and bottom exchanged, in pixels, boxes and words."""
    boxes = tuple(Box(b.x0, 1 - b.y1, b.x1, 1 - b.y0) for b in record.boxes)
    return picture.transpose(_TRANSPOSE["vertical"]), _reworded(record, boxes, "vertical")


def as_flipped(picture: Image.Image, record: Record) -> Image.Image:
    """The stored picture as a record shows it that has been flipped or not."""
    for direction in record.provenance.get("flipped", ()):
        picture = picture.transpose(_TRANSPOSE[direction])
    return picture


def swapped(text: str, direction: str) -> str:
    """The text with the words of a direction (`horizontal`, `vertical`) exchanged, each in its own case."""
    pattern, forms = _SWAPS[direction]
    return pattern.sub(lambda match: forms[match[0]], text)


def _reworded(record: Record, boxes: tuple[Box, ...], direction: str) -> Record:
    # the category too: a diagnosis names it
    category, query, diagnosis = (swapped(t, direction) for t in (record.category, record.query, record.diagnosis))
    flipped = set(record.provenance.get("flipped", ())) ^ {direction}
    provenance = {k: v for k, v in record.provenance.items() if k != "flipped"}
    provenance |= {"flipped": sorted(flipped)} if flipped else {}
    return replace(record, boxes=boxes, category=category, query=query, diagnosis=diagnosis, provenance=provenance)
