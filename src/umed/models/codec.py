"""`BoxCodec`: how a model family writes boxes in its answers; one file a convention, `backbones/<name>_codec.py`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from umed.boxes import Box, BoxError
from umed.thoughts import hide_thoughts

# the beginning of a box of any family, also truncated or with another key
_BOX_SYNTAX = re.compile(r"bbox|box_2d|<box|<ref|<loc\d|[\[(]\s*[\d.]+\s*%?\s*[,;]", re.IGNORECASE)
OVERSHOOT = 0.1  # of the frame: a corner may lie so far outside; one further away is of another convention


class BoxCodec(ABC):
    """Writes boxes in a family's text convention and reads them back; boxes are fractions of the family's frame.

    `width` and `height` are those of the frame in pixels of the image that the model saw.
    """

    __slots__ = ()

    @abstractmethod
    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str: ...

    @abstractmethod
    def corners(self, answer: str) -> Iterator[Sequence[float]]:
        """x0, y0, x1, y1 of everything in an answer that is written like a box, in `units`."""

    @abstractmethod
    def units(self, width: int, height: int) -> tuple[float, float]:
        """Width and height of the frame in the numbers that are written."""

    @abstractmethod
    def find(self, answer: str) -> list[tuple[int, int]]:
        """Character spans of the coordinates in an answer."""

    @abstractmethod
    def without_boxes(self, answer: str) -> str: ...

    def quantum(self, width: int, height: int) -> tuple[float, float]:
        """The step of a written coordinate, across and down, as a fraction of the frame."""
        across, down = self.units(width, height)
        return 1 / across, 1 / down

    def read(self, text: str, width: int, height: int) -> list[Box] | None:
        """All readable boxes of a reply; None when there is none (reading R13): never [0, 0, 0, 0].

        Thoughts are not read. What is no box (inverted, not finite, outside the frame) is left out, and so is a box in
        the numbers of another convention, see `read_box`.
        """
        boxes = []
        for four in self.corners(hide_thoughts(text)):
            try:
                boxes.append(read_box(four, *self.units(width, height)))
            except BoxError:
                continue
        return boxes or None

    def has_box_syntax(self, text: str) -> bool:
        """Whether a reply contains a box or the beginning of one, readable or not; thoughts are ignored."""
        answer = hide_thoughts(text)
        return bool(_BOX_SYNTAX.search(answer) or self.find(answer))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the coordinates in a reply; none in its thoughts."""
        return self.find(hide_thoughts(text))

    def strip(self, text: str) -> str:
        """The reply without its boxes and thoughts, as plain language."""
        return self.without_boxes(hide_thoughts(text))


def read_box(four: Sequence[float], across: float, down: float) -> Box:
    """A box from x0, y0, x1, y1 as they are written, in a frame of `across` x `down` units; clipped to the frame.

    Raises:
        BoxError: it is no box, or of another convention: a corner lies further outside the frame than `OVERSHOOT`, or
            the numbers are fractions (all about 1 at most, and one with a decimal point) where the frame is larger.
    """
    box = Box.from_xyxy(four, across, down)
    x0, y0, x1, y1 = (float(v) for v in four)
    if min(x0 / across, y0 / down) < -OVERSHOOT or max(x1 / across, y1 / down) > 1 + OVERSHOOT:
        raise BoxError("out_of_frame", f"further outside than an overshoot: {four!r}")
    has_point = any(isinstance(v, float) or not float(v).is_integer() for v in four)
    if has_point and max(x1, y1) <= 1 + OVERSHOOT < min(across, down):
        raise BoxError("malformed", f"fractions instead of {across:g} x {down:g} units: {four!r}")
    return box


def in_reading_order(boxes: Sequence[Box]) -> list[Box]:
    """Boxes from top to bottom, then from left to right: the order in which they are written."""
    return sorted(boxes, key=lambda b: (b.y0, b.x0))


def widen(box: Box, width: float, height: float) -> tuple[float, float, float, float]:
    """Corners of a box in a frame of `width` x `height` steps; one thinner than a step is widened to one."""
    x0, y0, x1, y1 = box.to_xyxy(width, height)
    if round_half_up(x1) <= round_half_up(x0):
        x0, x1 = (int(x0), int(x0) + 1) if x0 < width - 1 else (width - 1, width)
    if round_half_up(y1) <= round_half_up(y0):
        y0, y1 = (int(y0), int(y0) + 1) if y0 < height - 1 else (height - 1, height)
    return x0, y0, x1, y1


def round_half_up(value: float) -> int:
    return int(value + 0.5)
