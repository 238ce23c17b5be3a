"""Checks that a reply answers the request: its fields, the category, the region, and the order of the parts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from umed.boxes import Box
from umed.chat import REGION, tidy
from umed.evaluation.rules.mentions import find_mentions
from umed.llm.verdict import find_objects
from umed.records import Record
from umed.run_files import are_numbers, is_text
from umed.thoughts import without_thoughts

Aliases = Mapping[str, Sequence[str]]
PARTS = ("detection", "localization", "recognition")  # in this order
_LIKE_REGION = re.compile(r"<\s*/?\s*region\s*/?\s*>", re.IGNORECASE)
_NUMBER = r"(?<![\w.])-?\d++(?:\.\d++)?"
_BOX = rf"(?:\[\s*){{0,2}}{_NUMBER}(?:\s*,\s*{_NUMBER}){{3}}(?:\s*\]){{0,2}}"
_BOXES = re.compile(rf"{_BOX}(?:(?:\s*[,;]\s*and\s+|\s*[,;]\s*|\s+and\s+){_BOX})*")
_COORDINATES = re.compile(r"\d(?:\.\d+)?(?:\s*,\s*\d+(?:\.\d+)?){3}")


class Unusable(ValueError):
    """A reply that cannot be used: `reason` is short, for counting; `message` tells the model what to correct."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason)
        self.reason, self.message = reason, message


def make_schema(*texts: str) -> dict[str, Any]:
    """The JSON schema of a reply: the echo of category and boxes, then the texts."""
    boxes = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    fields = {"category": {"type": "string"}, "boxes": boxes, **{name: {"type": "string"} for name in texts}}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def boxes_in_pixels(record: Record) -> list[list[float]]:
    """The boxes as x0, y0, x1, y1 in pixels of the stored picture, as the prompt gives them."""
    return [[round(v, 1) for v in box.to_xyxy(record.width, record.height)] for box in record.boxes]


def read_diagnosis(reply: str, record: Record, aliases: Aliases) -> str:
    """The diagnosis of the first turn. Raises Unusable: what is wrong with the reply."""
    value = _object(reply, ("diagnosis",))
    _check_echo(value, record, aliases)
    return _text(value, "diagnosis")


def read_parts(reply: str, record: Record, aliases: Aliases) -> str:
    """Detection, localization with the region's marker, recognition of the second turn. Raises Unusable: the fault."""
    value = _object(reply, PARTS)
    _check_echo(value, record, aliases)
    if [name for name in value if name in PARTS] != list(PARTS):
        raise Unusable("wrong order", f"the fields must come in the order {', '.join(PARTS)}")
    parts = {name: _text(value, name) for name in PARTS}
    parts["localization"] = _marked(parts["localization"], record)
    for name, text in parts.items():
        wanted = int(name == "localization")
        if text.count(REGION) != wanted or len(_LIKE_REGION.findall(text)) != wanted:
            raise Unusable(
                "wrong region marker", f"the marker {REGION} must stand exactly once, in localization and nowhere else"
            )
        if not re.search(r"\w", text.replace(REGION, "")):
            raise Unusable("an empty part", f"{name} says nothing")
        if _COORDINATES.search(text):
            raise Unusable("coordinates in the text", f"{name} holds coordinates: the marker {REGION} stands for them")
    if not find_mentions(parts["recognition"], record.category, aliases.get(record.category, ())):
        raise Unusable("category not recognized", f'recognition must name the category "{record.category}"')
    return " ".join(parts.values())


def _marked(text: str, record: Record) -> str:
    """A localization that gives the record's boxes instead of the marker, with the marker in their place."""
    places = list(_BOXES.finditer(text))
    if _LIKE_REGION.search(text) or len(places) != 1:
        return text
    numbers = [float(n) for n in re.findall(_NUMBER, places[0][0])]
    corners = [numbers[k : k + 4] for k in range(0, len(numbers), 4)]
    if not _is_same(corners, record.boxes, record.width, record.height):
        return text
    return tidy(text[: places[0].start()] + REGION + text[places[0].end() :])


def _object(reply: str, fields: Sequence[str]) -> dict[str, Any]:
    """The one JSON object with all the fields in a reply, which may have prose around it."""
    found = find_objects(reply)
    if not found:
        raise Unusable("no JSON object", "the reply holds no JSON object")
    if len(found) > 1:
        raise Unusable("several JSON objects", "one JSON object is expected")
    missing = [name for name in ("category", "boxes", *fields) if name not in found[0]]
    if missing:
        raise Unusable("missing fields", f"the JSON object has no {', '.join(missing)}")
    return found[0]


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value[name]
    if (
        not isinstance(text, str)
        or not is_text(text)
        or "<|" in text
        or "\ufffd" in text
        or without_thoughts(text) != text
    ):
        raise Unusable("a field that is no text", f"{name} must be plain text")
    if not text.strip():
        raise Unusable("an empty part", f"{name} is empty")
    return tidy(text)


def _check_echo(value: Mapping[str, Any], record: Record, aliases: Aliases) -> None:
    names = {" ".join(n.casefold().split()) for n in (record.category, *aliases.get(record.category, ()))}
    category = value["category"]
    if not isinstance(category, str) or " ".join(category.casefold().split()) not in names:
        raise Unusable("another category", f'category must be "{record.category}"')
    if not _is_same(value["boxes"], record.boxes, record.width, record.height):
        raise Unusable("other boxes", f"boxes must be {boxes_in_pixels(record)}")


def _is_same(echo: Any, boxes: Sequence[Box], width: int, height: int) -> bool:
    """Whether the echoed boxes are the given ones, in their order, within 1 pixel or 1 % of the picture's side."""
    if not isinstance(echo, list) or len(echo) != len(boxes):
        return False
    slack = [max(1.0, 0.01 * side) for side in (width, height, width, height)]
    for echoed, box in zip(echo, boxes, strict=True):
        if not are_numbers(echoed, 4):
            return False
        given = [round(v, 1) for v in box.to_xyxy(width, height)]  # as in the prompt
        if not all(b - most <= a <= b + most for a, b, most in zip(echoed, given, slack, strict=True)):
            return False
    return True
