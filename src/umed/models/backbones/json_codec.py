"""Boxes as JSON, `[{"bbox_2d":[x0,y0,x1,y1],"label":"..."}]`: the text convention of the Qwen-VL families."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from umed.boxes import Box
from umed.models.codec import BoxCodec, in_reading_order, round_half_up, widen

_FENCE = re.compile(r"```(?:json)?")
_ARRAY = re.compile(r"\[\s*\{.*?\}\s*\]", re.DOTALL)
_OBJECT = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class JsonCodec(BoxCodec):
    """Writes and reads boxes in whole numbers; fenced, bare and truncated JSON are read.

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
        across, down = self.units(width, height)
        steps, limits = (across / self.step, down / self.step), (across, down) * 2
        items = []
        for box in in_reading_order(boxes):
            rounded = [self.step * round_half_up(v) for v in widen(box, *steps)]
            items.append({self.key: self._reorder([*map(min, rounded, limits)]), "label": label})
        return json.dumps(items, separators=(",", ":"), ensure_ascii=False)

    def corners(self, answer: str) -> Iterator[Sequence[float]]:
        for item in _OBJECT.findall(_FENCE.sub(" ", answer)):
            try:
                four = json.loads(item)[self.key]
            except (ValueError, KeyError, RecursionError):  # no JSON, no box, or nested absurdly deep
                continue
            if isinstance(four, list):
                yield self._reorder(four)

    def _reorder(self, four: list) -> list:
        """Between x, y, x, y and the convention's own order; its own inverse."""
        return [four[i] for i in (1, 0, 3, 2)] if self.rows_first and len(four) == 4 else four

    def units(self, width: int, height: int) -> tuple[int, int]:
        return (self.scale, self.scale) if self.scale else (width, height)

    def quantum(self, width: int, height: int) -> tuple[float, float]:
        across, down = self.units(width, height)
        return self.step / across, self.step / down

    def find(self, answer: str) -> list[tuple[int, int]]:
        return [m.span() for m in re.finditer(rf'"{self.key}"\s*:\s*\[[^\]]*\]', answer)]

    def without_boxes(self, answer: str) -> str:
        return _OBJECT.sub(" ", _ARRAY.sub(" ", _FENCE.sub(" ", answer)))
