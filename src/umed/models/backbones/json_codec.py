"""Boxes as JSON, `[{"bbox_2d":[x0,y0,x1,y1],"label":"..."}]`: the text convention of the Qwen-VL families."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from umed.boxes import Box

THINKING = re.compile(r"<think>.*?(</think>|$)|<unused94>.*?(<unused95>|$)", re.DOTALL)  # Qwen's words, MedGemma's
_FENCE = re.compile(r"```(?:json)?")
_ARRAY = re.compile(r"\[\s*\{.*?\}\s*\]", re.DOTALL)
_OBJECT = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class JsonCodec:
    """Writes and reads boxes in whole numbers.

    A coordinate is rounded to a multiple of `step` and clipped to the frame: half a step is lost at most, and a box
    thinner than a step is widened to one.

    Args:
        scale: the frame's width and height in units, whatever its size (Qwen3-VL: 1000); None = pixels of the image
            AFTER the processor's resize, a size that the caller gives (Qwen2.5-VL).
        rows_first: the order is y0, x0, y1, x1 (MedGemma).
    """

    key: str = "bbox_2d"
    step: int = 1
    scale: int | None = None
    rows_first: bool = False

    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str:
        width, height = self._units(width, height)
        steps, ends = (width / self.step, height / self.step), (width, height) * 2
        items = []
        for b in sorted(boxes, key=lambda b: (b.y0, b.x0)):
            corners = [min(self.step * rounded(v), end) for v, end in zip(grown(b, *steps), ends, strict=True)]
            items.append({self.key: self._ordered(corners), "label": label})
        return json.dumps(items, separators=(",", ":"), ensure_ascii=False)

    def read(self, text: str, width: int, height: int) -> list[Box] | None:
        """All readable boxes of an answer; None when there is none (reading R13): never [0, 0, 0, 0].

        Fenced, bare and truncated JSON are read; a thinking block is not. A box that is no box (inverted, not finite,
        outside the frame) is left out.
        """
        width, height = self._units(width, height)
        answer = _FENCE.sub(" ", THINKING.sub(" ", text))
        boxes = []
        for item in _OBJECT.findall(answer):
            try:
                corners = json.loads(item)[self.key]
                if isinstance(corners, list):
                    boxes.append(Box.from_xyxy(self._ordered(corners), width, height))
            except (ValueError, KeyError, OverflowError, RecursionError):  # no JSON, no box, or absurdly long
                continue
        return boxes or None

    def _units(self, width: int, height: int) -> tuple[int, int]:
        return (self.scale, self.scale) if self.scale else (width, height)

    def _ordered(self, four: list) -> list:
        """Between x, y, x, y and the convention's own order; its own inverse."""
        return [four[i] for i in (1, 0, 3, 2)] if self.rows_first and len(four) == 4 else four

    def quantum(self, width: int, height: int) -> tuple[float, float]:
        """The step of a written coordinate, across and down, as a fraction of the frame."""
        width, height = self._units(width, height)
        return self.step / width, self.step / height

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the coordinates in an answer."""
        return [m.span() for m in re.finditer(rf'"{self.key}"\s*:\s*\[[^\]]*\]', text)]

    def strip(self, text: str) -> str:
        """The answer without its boxes, as plain language."""
        return _OBJECT.sub(" ", _ARRAY.sub(" ", _FENCE.sub(" ", THINKING.sub(" ", text))))


def grown(box: Box, width: float, height: float) -> tuple[float, float, float, float]:
    """A box thinner than one step keeps one step, so that rounding never makes it empty."""
    x0, y0, x1, y1 = box.to_xyxy(width, height)
    if rounded(x1) <= rounded(x0):
        x0, x1 = (int(x0), int(x0) + 1) if x0 < width - 1 else (width - 1, width)
    if rounded(y1) <= rounded(y0):
        y0, y1 = (int(y0), int(y0) + 1) if y0 < height - 1 else (height - 1, height)
    return x0, y0, x1, y1


def rounded(value: float) -> int:
    return int(value + 0.5)
