"""Boxes as whole numbers in brackets, `[120, 300, 450, 660]`: thousandths of the picture, the convention for MedVInT.

MedVInT was taught no boxes, and the paper does not say how its answers write them: this form is ours. LLaMA's first
tokenizer splits numbers into digits, so a box takes about 20 tokens here and twice as many as JSON.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from umed.boxes import Box
from umed.models.codec import BoxCodec, in_reading_order, round_half_up, widen

_NUMBER = r"\s*(-?\d{1,6}(?:\.\d{0,6})?)\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")


@dataclass(frozen=True, slots=True)
class PlainCodec(BoxCodec):
    """Writes and reads x0, y0, x1, y1 in whole numbers of 0 to `scale` over the frame, rounded to multiples of `step`.

    A box thinner than a step is widened to one.
    """

    scale: int = 1000
    step: int = 1

    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str:
        regions = []
        steps = self.scale / self.step
        for box in in_reading_order(boxes):
            four = (min(self.step * round_half_up(v), self.scale) for v in widen(box, steps, steps))
            regions.append("[" + ", ".join(map(str, four)) + "]")
        return ", ".join(regions)

    def corners(self, answer: str) -> Iterator[Sequence[float]]:
        for four in _BOX.findall(answer):
            yield [float(v) if "." in v else int(v) for v in four]

    def units(self, width: int, height: int) -> tuple[int, int]:
        return self.scale, self.scale

    def quantum(self, width: int, height: int) -> tuple[float, float]:
        return self.step / self.scale, self.step / self.scale

    def find(self, answer: str) -> list[tuple[int, int]]:
        return [m.span() for m in _BOX.finditer(answer)]

    def without_boxes(self, answer: str) -> str:
        return _BOX.sub(" ", answer)
