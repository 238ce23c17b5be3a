"""Boxes as four location tokens, `<loc0000><loc0000><loc1023><loc1023>`: the text convention of PaliGemma."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from umed.boxes import Box
from umed.models.backbones.json_codec import THINKING, grown, rounded

LAST = 1023  # number of the last of 1024 tokens: 0 and LAST are the borders of the frame
TOKENS = tuple(f"<loc{i:04d}>" for i in range(LAST + 1))
_BOX = re.compile(r"\s*".join([r"<loc([0-9]{4})>"] * 4))
_RUN = r"(?:<(?:loc[0-9]{4}|seg[0-9]{3})>\s*)+"
_REGION = re.compile(rf"{_RUN}(?:;\s*{_RUN})*")


@dataclass(frozen=True, slots=True)
class LocCodec:
    """Writes and reads boxes in 1024 steps of the frame, in the order y0, x0, y1, x1.

    Half a step is lost at most; a box thinner than one is widened to one. The name that the family writes after a box
    is read over but not written: in a sentence nothing would mark its end, and the sentence has it already.
    """

    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str:
        said = []
        for b in sorted(boxes, key=lambda b: (b.y0, b.x0)):
            x0, y0, x1, y1 = (TOKENS[rounded(v)] for v in grown(b, LAST, LAST))
            said.append(y0 + x0 + y1 + x1)
        return " ; ".join(said)

    def read(self, text: str, width: int, height: int) -> list[Box] | None:
        """All readable boxes of an answer; None when there is none (reading R13): never [0, 0, 0, 0].

        A box that is no box (inverted, fewer than four tokens) is left out, and so are those in a thinking block.
        """
        boxes = []
        for four in _BOX.findall(THINKING.sub(" ", text)):
            y0, x0, y1, x1 = map(int, four)
            try:
                boxes.append(Box.from_xyxy((x0, y0, x1, y1), LAST, LAST))
            except ValueError:
                continue
        return boxes or None

    def quantum(self, width: int, height: int) -> tuple[float, float]:
        """The step of a written coordinate, across and down, as a fraction of the frame."""
        return 1 / LAST, 1 / LAST

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the coordinates in an answer."""
        return [m.span() for m in _BOX.finditer(text)]

    def strip(self, text: str) -> str:
        """The answer without its boxes, as plain language."""
        return _REGION.sub(" ", THINKING.sub(" ", text))
