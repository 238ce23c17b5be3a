"""Boxes as bare fractions, `[0.12, 0.30, 0.45, 0.66]`: the text convention of the LLaVA line."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from umed.boxes import Box
from umed.models.codec import BoxCodec, in_reading_order

_NUMBER = r"\s*(-?\d{1,20}(?:\.\d{0,20})?|-?\.\d{1,20})\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")


@dataclass(frozen=True, slots=True)
class FloatCodec(BoxCodec):
    """Writes and reads x0, y0, x1, y1 as fractions of the frame with `digits` decimals; a thin box keeps one step."""

    digits: int = 2

    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str:
        regions = []
        for box in in_reading_order(boxes):
            (x0, x1), (y0, y1) = self._round(box.x0, box.x1), self._round(box.y0, box.y1)
            regions.append("[" + ", ".join(f"{v:.{self.digits}f}" for v in (x0, y0, x1, y1)) + "]")
        return ", ".join(regions)

    def _round(self, low: float, high: float) -> tuple[float, float]:
        steps = 10**self.digits
        a, b = round(low * steps), round(high * steps)
        if b <= a:
            a = min(math.floor(low * steps), steps - 1)
            b = a + 1
        return a / steps, b / steps

    def corners(self, answer: str) -> Iterator[Sequence[float]]:
        for four in _BOX.findall(answer):
            yield [float(v) for v in four]

    def units(self, width: int, height: int) -> tuple[int, int]:
        return 1, 1

    def quantum(self, width: int, height: int) -> tuple[float, float]:
        return 10**-self.digits, 10**-self.digits

    def find(self, answer: str) -> list[tuple[int, int]]:
        return [m.span() for m in _BOX.finditer(answer)]

    def without_boxes(self, answer: str) -> str:
        return _BOX.sub(" ", answer)
