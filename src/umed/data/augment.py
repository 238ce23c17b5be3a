"""Flips of the picture together with its boxes and the words for sides; off by default."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from PIL import Image

from umed.boxes import Box
from umed.errors import InputError, check_choice
from umed.records import Record

# words that a flip exchanges
HORIZONTAL = "left right, leftmost rightmost, leftward rightward, leftwards rightwards"
VERTICAL = "upper lower, uppermost lowermost, top bottom, above below, upward downward, upwards downwards"
# a CT slice is seen from the feet: down in the picture is towards the back; elsewhere it is towards the feet
AXIAL = (
    "anterior posterior, anteriorly posteriorly, anterolateral posterolateral, anteromedial posteromedial, "
    "ventral dorsal, ventrally dorsally"
)
UPRIGHT = (
    "superior inferior, superiorly inferiorly, superolateral inferolateral, superomedial inferomedial, "
    "cranial caudal, cranially caudally"
)
_LETTER = r"[^\W\d_]"
# hours, lobes and quadrants as abbreviations, and names with a side that is not one of the picture
_FIXED = re.compile(
    rf"(?i:clockwise)|(?<!{_LETTER})(?:(?i:o['\u2019\u2018` ]?clock|venae? cavae?|gastro-?intestinal)"
    rf"|R[UML]L|L[UL]L|[RL][UL]Q|[RL]t|RT|LT|[SI]VC|U?GI)(?!{_LETTER})"
)


def _build_swaps(*pairs: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """A pattern for every word of the pairs as a whole word (`left-sided`, not `leftover`), and word -> replacement."""
    words = [pair.split() for pair in ", ".join(pairs).split(", ")]
    other = dict(words) | {b: a for a, b in words}
    forms = {form(a): form(b) for a, b in other.items() for form in (str.lower, str.upper, str.capitalize)}
    return re.compile(rf"(?<!{_LETTER})(?:{'|'.join(forms)})(?!{_LETTER})"), forms


_TRANSPOSE = {"horizontal": Image.Transpose.FLIP_LEFT_RIGHT, "vertical": Image.Transpose.FLIP_TOP_BOTTOM}
_SWAPS = {
    "horizontal": _build_swaps(HORIZONTAL),
    "vertical": _build_swaps(VERTICAL, UPRIGHT),
    "vertical CT": _build_swaps(VERTICAL, AXIAL),
}


@dataclass(frozen=True, slots=True)
class Flips:
    """Random flips: probabilities; each decision is a pure function of (seed, place in the batch plan)."""

    horizontal: float
    vertical: float
    seed: int

    @classmethod
    def from_config(cls, augment: Mapping[str, float], seed: int) -> Self | None:
        """From `data.augment`; None if both are 0. Raises InputError: an unknown name, or no probability."""
        for name, share in augment.items():
            check_choice("data.augment", name, "horizontal_flip", "vertical_flip")
            if not isinstance(share, int | float) or not 0 <= share <= 1:
                raise InputError(f"data.augment.{name}={share}: a probability from 0 to 1 is expected")
        flips = cls(augment["horizontal_flip"], augment["vertical_flip"], seed)
        return flips if flips.horizontal or flips.vertical else None

    def __call__(self, picture: Image.Image, record: Record, place: int) -> tuple[Image.Image, Record]:
        """The picture and record at this place of the plan, flipped or not; never if it `cannot_flip`."""
        draw = random.Random(f"flips/{self.seed}/{place}")
        if draw.random() < self.horizontal:
            picture, record = flip_horizontally(picture, record)
        if draw.random() < self.vertical:
            picture, record = flip_vertically(picture, record)
        return picture, record


def flip_horizontally(picture: Image.Image, record: Record) -> tuple[Image.Image, Record]:
    """Exchange left and right in pixels, boxes and words; nothing changes if a text `cannot_flip`."""
    boxes = tuple(Box(1 - b.x1, b.y0, 1 - b.x0, b.y1) for b in record.boxes)
    return _flip(picture, record, boxes, "horizontal")


def flip_vertically(picture: Image.Image, record: Record) -> tuple[Image.Image, Record]:
    """The same for top and bottom; in CT also anterior and posterior, elsewhere superior and inferior."""
    boxes = tuple(Box(b.x0, 1 - b.y1, b.x1, 1 - b.y0) for b in record.boxes)
    return _flip(picture, record, boxes, "vertical")


def cannot_flip(record: Record) -> bool:
    """Whether a text names a side that no exchange of words corrects: o'clock, clockwise, RUL, LLQ, vena cava, GI."""
    return any(_FIXED.search(text) for text in (record.category, record.query, record.diagnosis))


def flip_as_recorded(picture: Image.Image, record: Record) -> Image.Image:
    """The stored picture, flipped as the record notes."""
    for direction in record.provenance.get("flipped", ()):
        picture = picture.transpose(_TRANSPOSE[direction])
    return picture


def swap_sides(text: str, direction: str, modality: str = "") -> str:
    """The text with the words of a direction (`horizontal`, `vertical`) exchanged, each in its own case."""
    pattern, forms = _SWAPS["vertical CT" if (direction, modality) == ("vertical", "CT") else direction]
    return pattern.sub(lambda match: forms[match[0]], text)


def _flip(picture: Image.Image, record: Record, boxes: tuple[Box, ...], direction: str) -> tuple[Image.Image, Record]:
    if cannot_flip(record):
        return picture, record
    # the category too: a diagnosis names it
    texts = record.category, record.query, record.diagnosis
    category, query, diagnosis = (swap_sides(text, direction, record.modality) for text in texts)
    flipped = sorted(set(record.provenance.get("flipped", ())) ^ {direction})
    provenance = {k: v for k, v in record.provenance.items() if k != "flipped"}
    provenance |= {"flipped": flipped} if flipped else {}
    flipped_record = replace(
        record, boxes=boxes, category=category, query=query, diagnosis=diagnosis, provenance=provenance
    )
    return picture.transpose(_TRANSPOSE[direction]), flipped_record
