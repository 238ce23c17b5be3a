"""`read_verdict`: the JSON object that is the final answer in a reply; `find_objects`: every JSON object in a text."""

import json
import re
from typing import Any, NamedTuple

_ATTEMPTS = 20  # braces that begin no object before a text counts as unreadable
_TAG = r"<[/|]?\w[\w|]*>"  # <answer>, </answer>, <|message|>
_MARKUP = " \t\r\n`*_"
_BETWEEN = re.compile(r"(?:```json|[\s`*_])*")
_AFTER = re.compile(rf"(?:[\s`*_.]|{_TAG})*")
_LEAD = re.compile(rf"(?:[.:!?=\uff1a\u3002\uff01]|{_TAG})$|\b(?:verdict|score|grade|judge?ment) is$", re.IGNORECASE)
_EXAMPLE = re.compile(
    r"\b(?:sample|expected|hypothetical) (?:output|reply|response|json)\b|\b(?:ignore|not my)\b"
    r"|\b(?:wrote|writes|says?|said|quotes?|quoted)\W*$|<(?:draft|quote|user|prompt|candidate)\w*>$"
    r"|例如|格式(?:是|为|如下)"
    r"|\be\.\s?g\b|\bexamples?\b|\binstance\b|\bsuch as\b|\btemplate\b|\bformat (?:is|was|should|must|would)\b"
    r"|^\W*(?:the )?(?:\w+ )?format\W*$",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(r"\s*(?:\.{2,}|…|<[^<>]+>)\s*")


class NoVerdict(ValueError):
    """A reply without a verdict; the text says why, in a few words, for counting."""


class _Found(NamedTuple):
    start: int
    end: int
    value: dict[str, Any]


def read_verdict(text: str, field: str) -> dict[str, Any]:
    """The JSON object with `field` that is the final answer of a reply from which thoughts are already removed.

    It ends the reply and stands apart: on lines of its own, behind a sentence, or behind a label such as "Verdict:".
    Markdown, a code block and tags around it do not matter, nor do objects further up, which are drafts and quotations.

    Raises:
        NoVerdict: there is none; it is half-written or lies in another object or a list; text follows it; it is a
            quotation, an example or the repeated format; several different ones follow each other; a key occurs twice.
    """
    objects = [one for one in _scan(text) if field in one.value]
    if not objects:
        raise NoVerdict("no verdict in the reply")
    start, end, value = objects.pop()
    if not _AFTER.fullmatch(text, end):
        raise NoVerdict("a verdict that does not end the reply")
    while objects and _BETWEEN.fullmatch(text, objects[-1].end, start):
        start, _, other = objects.pop()
        if other[field] != value[field]:
            raise NoVerdict("several verdicts in the reply")
    lead = text[:start].rstrip(_MARKUP).removesuffix("```json").rstrip(_MARKUP)
    line, is_below = lead.rpartition("\n")[2].strip(), "\n" in text[len(lead) : start]
    is_apart = not lead or bool(_LEAD.search(line)) or (is_below and line[-1] not in "[(,'\"")
    is_label = not is_below or line.endswith((":", "\uff1a"))
    if not is_apart or (is_label and _EXAMPLE.search(line)):
        raise NoVerdict("a verdict that is quoted or an example")
    if any(isinstance(v, str) and _PLACEHOLDER.fullmatch(v) for v in value.values()):
        raise NoVerdict("the format of a verdict instead of one")
    return value


def find_objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, which may have prose around them; none of what lies in a half-written object."""
    return [one.value for one in _scan(text)]


def _scan(text: str) -> list[_Found]:
    decoder = json.JSONDecoder(object_pairs_hook=_without_repetition)
    objects, failures, depth, read = list[_Found](), 0, 0, 0  # depth: braces that are open and no part of an object
    while (start := text.find("{", read)) >= 0 and failures < _ATTEMPTS:
        depth = max(0, depth - text.count("}", read, start))
        try:
            value, read = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            read, failures, depth = start + 1, failures + 1, depth + 1
        else:
            if not depth:
                objects.append(_Found(start, read, value))
    return objects


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(value := dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return value
