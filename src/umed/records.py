"""`Record`: one image and ONE category with all its boxes; the line format of `records.jsonl`."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from umed.boxes import Box
from umed.errors import InputError

REASONS = ("missing_file", "unreadable", "malformed", "noisy", "unlabeled", "out_of_frame", "duplicate")


@dataclass(frozen=True, slots=True)
class Record:
    """One training example. `image` is relative to the source's root; `query` and `diagnosis` come from `annotate`.

    `diagnosis` holds the marker `<region>` where the boxes stand: each model family writes them in its own convention.
    """

    id: str
    source: str
    image: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    category: str
    modality: str
    group: str
    split: str = ""
    official_split: str = ""
    query: str = ""
    diagnosis: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The line of `records.jsonl`; boxes as float xyxy pixels of the stored image."""
        line = {name: getattr(self, name) for name in self.__slots__}
        line["boxes"] = [[round(v, 4) for v in b.to_xyxy(self.width, self.height)] for b in self.boxes]
        return line

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Self:
        boxes = tuple(Box.from_xyxy(b, line["width"], line["height"]) for b in line["boxes"])
        return cls(**{name: line[name] for name in cls.__slots__ if name in line and name != "boxes"}, boxes=boxes)


@dataclass(frozen=True, slots=True)
class Dropped:
    """One item of a source that gives no record or loses a box; the line format of `dropped.jsonl`."""

    source: str
    item: str
    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        assert self.reason in REASONS, self.reason

    def to_json(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in self.__slots__}


def write_jsonl(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write all lines or none: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    with half.open("w", encoding="utf-8") as f:
        f.writelines(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    half.replace(path)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read a file of one JSON object a line.

    Raises:
        InputError: no such file, or a line that is no JSON object (named by its number).
    """
    if not path.is_file():
        raise InputError(f"no file {path}: give the path of a .jsonl file")
    with path.open(encoding="utf-8-sig") as f:
        for number, text in enumerate(f, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}:{number}: not JSON ({error.msg}): one object a line is expected") from None
            if not isinstance(line, dict):
                raise InputError(f"{path}:{number}: a JSON object is expected, found {type(line).__name__}")
            yield line


def read_records(path: Path) -> list[Record]:
    """Read `records.jsonl`; a line that is no record ends with its number in an `InputError`."""
    records = []
    for number, line in enumerate(read_jsonl(path), 1):
        try:
            records.append(Record.from_json(line))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}:{number}: not a record ({error}): see the field list in the README") from None
    return records


def with_text(record: Record, query: str, diagnosis: str, **provenance: Any) -> Record:
    """The same record with the annotator's texts, and who wrote them under `provenance`."""
    return replace(record, query=query, diagnosis=diagnosis, provenance={**record.provenance, **provenance})
