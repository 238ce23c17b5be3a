"""Records, decisions and sheets for the tests of a review."""

import csv
import io
import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from umed.annotate.review import Decision, hash_text
from umed.boxes import Box
from umed.records import Record

EVIL = (
    "</script ></script/></script><script>alert(1)</script> <img src=x onerror=alert(2)> <!-- "
    """"'& {{sheet}} at <region>."""
)


TIME = "2026-01-02T03:04:05+00:00"


ALL = {"chunk": 200, "picture_side": 400}


def record(number: int, source: str = "s", diagnosis: str = "A cyst is seen at <region>.") -> Record:
    box = (Box(0.25, 0.25, 0.75, 0.75),)
    name = f"{source}/{number}"
    return Record(name, source, "a.png", 800, 400, box, "cyst", "CT", name, query="What?", diagnosis=diagnosis)


RECORDS = [record(k) for k in range(4)]


class Page(HTMLParser):
    """The elements of a page with their attributes and the text in them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.diagnoses: list[str] = []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._inside = "script"
            self.scripts.append("")
        elif ("class", "diagnosis") in attrs:
            self._inside = "diagnosis"
            self.diagnoses.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "p"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "diagnosis":
            self.diagnoses[-1] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and attributes.items() <= a.items()]


def decision(number: int, word: str, reviewer: str = "anna", base: Record | None = None, **fields: str) -> Decision:
    base = base or record(number)
    return Decision(base.id, hash_text(base), word, reviewer, **{"time": TIME, "where": "file:1", **fields})


def filled(path: Path, words: Sequence[dict[str, str]]) -> str:
    """The text of a CSV sheet with the first rows filled in."""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    for row, word in zip(rows, words, strict=False):
        row.update(word)
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


ANNA = {"reviewer": "Änna"}


FILLED = (
    {**ANNA, "decision": "accept"},
    {**ANNA, "decision": " Edit ", "corrected_diagnosis": "'-A größer stone,\nat <region>;", "comment": "'=no"},
    {**ANNA, "decision": "reject"},
)


def write_saved(path: Path, decisions: Any, **fields: Any) -> Path:
    path.write_text(json.dumps({"reviewer": "anna", "sheet": "all", "decisions": decisions, **fields}))
    return path


GOOD = {"id": "s/0", "hash": hash_text(record(0)), "decision": "accept", "time": "2026-01-02T04:04:05+01:00"}
