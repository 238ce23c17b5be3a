"""Boxes in tags, `<ref>stone</ref><box>[[x0, y0, x1, y1]]</box>`: the text convention of the InternVL family."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from umed.boxes import Box
from umed.models.codec import BoxCodec, in_reading_order, round_half_up, widen

TAGS = ("<ref>", "</ref>", "<box>", "</box>")
SCALE = 1000  # of the whole image, never of a tile
_FOUR = re.compile(r"\[[^\[\]]*\]")
_LIST = re.compile(r"\[\s*(?:\[[^\[\]]*\]\s*,?\s*)+")  # its end may be missing
_REGION = re.compile(r"(?:<ref>[^<]*</ref>\s*)?<box>(?:[^<]*</box>|[\s0-9.,\[\]-]*)")


@dataclass(frozen=True, slots=True)
class RefBoxCodec(BoxCodec):
    """Writes and reads boxes in whole thousandths of the frame, all boxes of an answer in one list.

    Half a thousandth is lost at most; a box thinner than one is widened to one. Lists of lists are read with and
    without their tags, also truncated ones.
    """

    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str:
        corners = [[round_half_up(v) for v in widen(b, SCALE, SCALE)] for b in in_reading_order(boxes)]
        return f"<ref>{label}</ref><box>{json.dumps(corners)}</box>"

    def corners(self, answer: str) -> Iterator[Sequence[float]]:
        for start, end in self.find(answer):
            try:
                yield json.loads(answer[start:end])
            except ValueError:  # no numbers, or absurdly long ones
                continue

    def units(self, width: int, height: int) -> tuple[int, int]:
        return SCALE, SCALE

    def find(self, answer: str) -> list[tuple[int, int]]:
        return [m.span() for boxes in _LIST.finditer(answer) for m in _FOUR.finditer(answer, *boxes.span())]

    def without_boxes(self, answer: str) -> str:
        """Also without tags; what a `<ref>` without a box names stays."""
        plain = _REGION.sub(" ", answer)
        for tag in TAGS:
            plain = plain.replace(tag, "")
        return re.sub(rf"{_LIST.pattern}\]?", " ", plain)
