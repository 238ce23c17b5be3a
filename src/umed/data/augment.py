"""Flips that move the picture, the boxes and the words for sides together; off by default."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from PIL import Image

from umed.boxes import Box
from umed.errors import InputError, check_choice
from umed.records import Record

HORIZONTAL = (("left", "right"), ("leftmost", "rightmost"), ("leftward", "rightward"), ("leftwards", "rightwards"))
VERTICAL = (
    ("upper", "lower"),
    ("uppermost", "lowermost"),
    ("top", "bottom"),
    ("above", "below"),
    ("upward", "downward"),
    ("upwards", "downwards"),
)
# A CT slice is seen from the feet: down in the picture is towards the back. Elsewhere it is towards the feet.
AXIAL = (
    ("anterior", "posterior"),
    ("anteriorly", "posteriorly"),
    ("anterolateral", "posterolateral"),
    ("anteromedial", "posteromedial"),
    ("ventral", "dorsal"),
    ("ventrally", "dorsally"),
)
UPRIGHT = (
    ("superior", "inferior"),
    ("superiorly", "inferiorly"),
    ("superolateral", "inferolateral"),
    ("superomedial", "inferomedial"),
    ("cranial", "caudal"),
    ("cranially", "caudally"),
)
_LETTER = r"[^\W\d_]"
# hours, lobes and quadrants by their letters, and names that hold a side which is none of the picture
_FIXED = re.compile(
    rf"(?i:clockwise)|(?<!{_LETTER})(?:(?i:o['\u2019\u2018` ]?clock|venae? cavae?|gastro-?intestinal)"
    rf"|R[UML]L|L[UL]L|[RL][UL]Q|[RL]t|RT|LT|[SI]VC|U?GI)(?!{_LETTER})"
)


def _swaps(*pairs: tuple[str, str]) -> tuple[re.Pattern[str], dict[str, str]]:
    """Every word of the pairs as a whole word (`left-sided`, not `leftover`), and what stands in its place."""
    other = {**dict(pairs), **{b: a for a, b in pairs}}
    forms = {form(a): form(b) for a, b in other.items() for form in (str.lower, str.upper, str.capitalize)}
    return re.compile(rf"(?<!{_LETTER})(?:{'|'.join(forms)})(?!{_LETTER})"), forms


_TRANSPOSE = {"horizontal": Image.Transpose.FLIP_LEFT_RIGHT, "vertical": Image.Transpose.FLIP_TOP_BOTTOM}
_SWAPS = {
    "horizontal": _swaps(*HORIZONTAL),
    "vertical": _swaps(*VERTICAL, *UPRIGHT),
    "vertical CT": _swaps(*VERTICAL, *AXIAL),
}


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
            check_choice("data.augment", name, "horizontal_flip", "vertical_flip")
            if not isinstance(share, int | float) or not 0 <= share <= 1:
                raise InputError(f"data.augment.{name}={share}: a probability from 0 to 1 is expected")
        flips = cls(augment["horizontal_flip"], augment["vertical_flip"], seed)
        return flips if flips.horizontal or flips.vertical else None

    def __call__(self, picture: Image.Image, record: Record, place: int) -> tuple[Image.Image, Record]:
        """The picture and record that stand at this place of the plan, flipped or not; never if it `cannot_flip`."""
        draw = random.Random(f"flips/{self.seed}/{place}")
        if draw.random() < self.horizontal:
            picture, record = flip_horizontally(picture, record)
        if draw.random() < self.vertical:
            picture, record = flip_vertically(picture, record)
        return picture, record


def flip_horizontally(picture: Image.Image, record: Record) -> tuple[Image.Image, Record]:
    """Left and right exchanged, in pixels, boxes and words; unchanged if a text `cannot_flip`."""
    if cannot_flip(record):
        return picture, record
    boxes = tuple(Box(1 - b.x1, b.y0, 1 - b.x0, b.y1) for b in record.boxes)
    return picture.transpose(_TRANSPOSE["horizontal"]), _reworded(record, boxes, "horizontal")


def flip_vertically(picture: Image.Image, record: Record) -> tuple[Image.Image, Record]:
    """Top and bottom exchanged, in pixels, boxes and words; unchanged if a text `cannot_flip`.

    Of CT, anterior and posterior are exchanged with them, of all else superior and inferior.
    """
    if cannot_flip(record):
        return picture, record
    boxes = tuple(Box(b.x0, 1 - b.y1, b.x1, 1 - b.y0) for b in record.boxes)
    return picture.transpose(_TRANSPOSE["vertical"]), _reworded(record, boxes, "vertical")


def cannot_flip(record: Record) -> bool:
    """Whether a text has words for sides that no exchange puts right: o'clock, clockwise, RUL, LLQ, vena cava, GI."""
    return any(_FIXED.search(text) for text in _texts(record))


def as_flipped(picture: Image.Image, record: Record) -> Image.Image:
    """The stored picture as a record shows it that has been flipped or not."""
    for direction in record.provenance.get("flipped", ()):
        picture = picture.transpose(_TRANSPOSE[direction])
    return picture


def swapped(text: str, direction: str, modality: str = "") -> str:
    """The text with the words of a direction (`horizontal`, `vertical`) exchanged, each in its own case."""
    pattern, forms = _SWAPS["vertical CT" if (direction, modality) == ("vertical", "CT") else direction]
    return pattern.sub(lambda match: forms[match[0]], text)


def _texts(record: Record) -> tuple[str, str, str]:
    return record.category, record.query, record.diagnosis


def _reworded(record: Record, boxes: tuple[Box, ...], direction: str) -> Record:
    # the category too: a diagnosis names it
    category, query, diagnosis = (swapped(text, direction, record.modality) for text in _texts(record))
    flipped = set(record.provenance.get("flipped", ())) ^ {direction}
    provenance = {k: v for k, v in record.provenance.items() if k != "flipped"}
    provenance |= {"flipped": sorted(flipped)} if flipped else {}
    return replace(record, boxes=boxes, category=category, query=query, diagnosis=diagnosis, provenance=provenance)
