"""Boxes as four location tokens, `<loc0000><loc0000><loc1023><loc1023>`: the text convention of PaliGemma."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from umed.boxes import Box
from umed.models.codec import BoxCodec, in_reading_order, round_half_up, widen

LAST = 1023  # number of the last of 1024 tokens: 0 and LAST are the borders of the frame
TOKENS = tuple(f"<loc{i:04d}>" for i in range(LAST + 1))
_BOX = re.compile(r"\s*".join([r"<loc([0-9]{4})>"] * 4))
_RUN = r"(?:<(?:loc[0-9]{4}|seg[0-9]{3})>\s*)+"
_REGION = re.compile(rf"{_RUN}(?:;\s*{_RUN})*")


@dataclass(frozen=True, slots=True)
class LocCodec(BoxCodec):
    """Writes and reads boxes in 1024 steps of the frame, in the order y0, x0, y1, x1.

    Half a step is lost at most; a box thinner than one is widened to one. The name that the family writes after a box
    is read over but not written: in a sentence nothing would mark its end, and the sentence has it already.
    """

    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str:
        regions = []
        for box in in_reading_order(boxes):
            x0, y0, x1, y1 = (TOKENS[round_half_up(v)] for v in widen(box, LAST, LAST))
            regions.append(y0 + x0 + y1 + x1)
        return " ; ".join(regions)

    def corners(self, answer: str) -> Iterator[Sequence[float]]:
        for four in _BOX.findall(answer):
            y0, x0, y1, x1 = map(int, four)
            yield x0, y0, x1, y1

    def units(self, width: int, height: int) -> tuple[int, int]:
        return LAST, LAST

    def find(self, answer: str) -> list[tuple[int, int]]:
        return [m.span() for m in _BOX.finditer(answer)]

    def without_boxes(self, answer: str) -> str:
        return _REGION.sub(" ", answer)
