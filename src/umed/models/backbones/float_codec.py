"""Boxes as bare fractions, `[0.12, 0.30, 0.45, 0.66]`: the text convention of the LLaVA line."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from umed.boxes import Box, BoxError
from umed.models.backbones.json_codec import THINKING

_NUMBER = r"\s*(-?\d{1,20}(?:\.\d{0,20})?|-?\.\d{1,20})\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")


@dataclass(frozen=True, slots=True)
class FloatCodec:
    """Writes and reads x0, y0, x1, y1 as fractions of the frame with `digits` decimals; a thin box keeps one step."""

    digits: int = 2

    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str:
        said = []
        for b in sorted(boxes, key=lambda b: (b.y0, b.x0)):
            (x0, x1), (y0, y1) = self._rounded(b.x0, b.x1), self._rounded(b.y0, b.y1)
            said.append("[" + ", ".join(f"{v:.{self.digits}f}" for v in (x0, y0, x1, y1)) + "]")
        return ", ".join(said)

    def _rounded(self, low: float, high: float) -> tuple[float, float]:
        steps = 10**self.digits
        a, b = round(low * steps), round(high * steps)
        if b <= a:
            a = min(math.floor(low * steps), steps - 1)
            b = a + 1
        return a / steps, b / steps

    def read(self, text: str, width: int, height: int) -> list[Box] | None:
        """All readable boxes; None when there is none (reading R13). A list of four that is no box is left out."""
        boxes = []
        for four in _BOX.findall(THINKING.sub(" ", text)):
            try:
                boxes.append(Box.from_xyxy([float(v) for v in four], 1, 1))
            except BoxError:
                continue
        return boxes or None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the coordinates in an answer."""
        return [m.span() for m in _BOX.finditer(text)]

    def strip(self, text: str) -> str:
        """The answer without its boxes, as plain language."""
        return _BOX.sub(" ", THINKING.sub(" ", text))

    def quantum(self, width: int, height: int) -> tuple[float, float]:
        """The step of a written coordinate, across and down, as a fraction of the frame."""
        return 10**-self.digits, 10**-self.digits
