"""`BoxCodec`: how a model family writes boxes in its answers; one file a convention, `backbones/<name>_codec.py`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from umed.boxes import Box, BoxError

THINKING = re.compile(r"<think>.*?(</think>|$)|<unused94>.*?(<unused95>|$)", re.DOTALL)  # Qwen's tags, MedGemma's


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
    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the coordinates in an answer."""

    @abstractmethod
    def without_boxes(self, answer: str) -> str: ...

    def quantum(self, width: int, height: int) -> tuple[float, float]:
        """The step of a written coordinate, across and down, as a fraction of the frame."""
        across, down = self.units(width, height)
        return 1 / across, 1 / down

    def read(self, text: str, width: int, height: int) -> list[Box] | None:
        """All readable boxes of an answer; None when there is none (reading R13): never [0, 0, 0, 0].

        A thinking block is not read. A box that is no box (inverted, not finite, outside the frame) is left out.
        """
        boxes = []
        for four in self.corners(THINKING.sub(" ", text)):
            try:
                boxes.append(Box.from_xyxy(four, *self.units(width, height)))
            except BoxError:
                continue
        return boxes or None

    def strip(self, text: str) -> str:
        """The answer without its boxes and thinking blocks, as plain language."""
        return self.without_boxes(THINKING.sub(" ", text))


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
