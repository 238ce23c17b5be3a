"""Boxes in tags, `<ref>stone</ref><box>[[x0, y0, x1, y1]]</box>`: the text convention of the InternVL family."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from umed.boxes import Box
from umed.models.backbones.json_codec import THINKING, grown, rounded

TAGS = ("<ref>", "</ref>", "<box>", "</box>")
SCALE = 1000  # of the whole image, never of a tile
_FOUR = re.compile(r"\[[^\[\]]*\]")
_LIST = re.compile(r"\[\s*(?:\[[^\[\]]*\]\s*,?\s*)+")  # its end may be missing
_REGION = re.compile(r"(?:<ref>[^<]*</ref>\s*)?<box>(?:[^<]*</box>|[\s0-9.,\[\]-]*)")


@dataclass(frozen=True, slots=True)
class RefBoxCodec:
    """Writes and reads boxes in whole thousandths of the frame, all boxes of an answer in one list.

    Half a thousandth is lost at most; a box thinner than one is widened to one.
    """

    def write(self, boxes: Sequence[Box], label: str, width: int, height: int) -> str:
        ordered = sorted(boxes, key=lambda b: (b.y0, b.x0))
        corners = [[rounded(v) for v in grown(b, SCALE, SCALE)] for b in ordered]
        return f"<ref>{label}</ref><box>{json.dumps(corners)}</box>"

    def read(self, text: str, width: int, height: int) -> list[Box] | None:
        """All readable boxes of an answer; None when there is none (reading R13): never [0, 0, 0, 0].

        Lists of lists are read with and without their tags, also truncated ones; those in a thinking block are not. A
        box that is no box (inverted, not finite, outside the frame) is left out.
        """
        boxes = []
        for found in _LIST.findall(THINKING.sub(" ", text)):
            for four in _FOUR.findall(found):
                try:
                    boxes.append(Box.from_xyxy(json.loads(four), SCALE, SCALE))
                except ValueError:  # no numbers, no box, or absurdly long
                    continue
        return boxes or None

    def quantum(self, width: int, height: int) -> tuple[float, float]:
        """The step of a written coordinate, across and down, as a fraction of the frame."""
        return 1 / SCALE, 1 / SCALE

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the coordinates in an answer."""
        return [m.span() for found in _LIST.finditer(text) for m in _FOUR.finditer(text, *found.span())]

    def strip(self, text: str) -> str:
        """The answer without its boxes, as plain language; what a `<ref>` without a box names stays."""
        plain = _REGION.sub(" ", THINKING.sub(" ", text))
        for tag in TAGS:
            plain = plain.replace(tag, "")
        return re.sub(rf"{_LIST.pattern}\]?", " ", plain)
