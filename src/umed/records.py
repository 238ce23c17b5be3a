"""`Record`: one image and ONE category with all its boxes; the line format of `records.jsonl`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from umed.boxes import Box
from umed.errors import InputError
from umed.run_files import are_numbers, is_text, make_printable, read_numbered_jsonl

_TYPES: dict[str, type] = {"width": int, "height": int, "boxes": list, "provenance": dict}  # all other fields: str
SYNTHETIC = "phantom_"  # prefix of sources and data sets whose pictures a program drew
NORMAL = "normal"  # category of a control, a picture known to be normal, that is trained on
REASONS = ("missing_file", "unreadable", "malformed", "noisy", "unlabeled", "out_of_frame", "duplicate")


@dataclass(frozen=True, slots=True)
class Record:
    """One training example: one picture and one category with all its boxes; one without boxes is a control.

    `image` is relative to the source's root. `query` and `diagnosis` are filled by `annotate`; the marker `<region>` in
    the diagnosis is replaced by the boxes in the convention of each model family.
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

    @property
    def window(self) -> tuple[float, float, float] | None:
        """`low, high, offset` of a picture with more than 8 bits: the shown range of value + offset (HU for CT)."""
        window = self.provenance.get("window")
        if window is None:
            return None
        low, high, offset = window
        return low, high, offset

    def to_json(self) -> dict[str, Any]:
        """The line of `records.jsonl`; boxes as float xyxy pixels of the stored image."""
        line = {name: getattr(self, name) for name in self.__slots__}
        line["boxes"] = [_round_corners(b.to_xyxy(self.width, self.height)) for b in self.boxes]
        return line

    @classmethod
    def from_json(cls, line: dict[str, Any], control: bool = False) -> Self:
        """The record of a line. Raises ValueError, OverflowError: a wrong field or box.

        A `control` has no boxes, nor has a record of the category `NORMAL`; all others have some.
        """
        _check(line, control)
        boxes = tuple(Box.from_xyxy(b, line["width"], line["height"]) for b in line["boxes"])
        return cls(**{name: line[name] for name in cls.__slots__ if name in line and name != "boxes"}, boxes=boxes)


@dataclass(frozen=True, slots=True)
class RecordSet:
    """Records and the folder of each source's pictures."""

    records: Sequence[Record]
    roots: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Dropped:
    """One item of a source that gives no record or loses a box; the line format of `dropped.jsonl`."""

    source: str
    item: str
    reason: str
    detail: str = ""

    def __post_init__(self) -> None:
        assert self.reason in REASONS, self.reason
        for name in ("item", "detail"):  # names from the disk or a file may hold what no text file can
            text = getattr(self, name)
            object.__setattr__(self, name, text if is_text(text) else make_printable(text))

    def to_json(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in self.__slots__}


def read_records(path: Path, controls: bool = False) -> list[Record]:
    """Read `records.jsonl` or `controls.jsonl`. Raises InputError: no such file, or a line (by number) is no record."""
    records = []
    for number, line in read_numbered_jsonl(path):
        try:
            records.append(Record.from_json(line, controls))
        except (ValueError, OverflowError) as error:
            raise InputError(
                f"{path}:{number}: not a record ({error}): correct the line or write the file anew with task=prepare"
            ) from None
    return records


def read_record_set(run: Path) -> RecordSet:
    """The records of a run and where their pictures lie. Raises InputError: a file is missing or not readable."""
    path = run / "sources.json"
    try:
        roots = {name: Path(root) for name, root in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: no readable list of picture folders ({error}): give a run folder") from None
    return RecordSet(read_records(run / "records.jsonl"), roots)


def add_text(record: Record, query: str, diagnosis: str, **provenance: Any) -> Record:
    """The same record with the annotator's texts, and who wrote them under `provenance`."""
    return replace(record, query=query, diagnosis=diagnosis, provenance={**record.provenance, **provenance})


def _check(line: dict[str, Any], control: bool) -> None:
    """Raise ValueError unless the line has the fields of a record, each of its type."""
    for f in fields(Record):
        if f.name not in line:
            if f.default is MISSING and f.default_factory is MISSING:
                raise ValueError(f"no {f.name}")
            continue
        value: Any = line[f.name]
        wanted, found = _TYPES.get(f.name, str), type(value)
        if found is not wanted:  # exactly: bool is a subclass of int
            raise ValueError(f"{f.name} is {value!r}: {wanted.__name__} is expected, not {found.__name__}")
        if wanted is str and not is_text(value):
            raise ValueError(f"{f.name} is {value!r}, which no file can hold")
        if f.name in ("id", "source", "image", "category") and not value.strip():
            raise ValueError(f"{f.name} is empty")
        if wanted is int and value < 1:
            raise ValueError(f"{f.name} is {value}: at least 1 is expected")
    window = line.get("provenance", {}).get("window")
    is_window = are_numbers(window, 3) and all(map(math.isfinite, window)) and window[0] < window[1]
    if window is not None and not is_window:
        raise ValueError(f"provenance.window is {window!r}: low, high, offset with low < high are expected")
    if not line["boxes"] and not control and line["category"] != NORMAL:
        raise ValueError(f"boxes is empty: at least one is expected where the category is not {NORMAL}")
    if line["boxes"] and control:
        raise ValueError("a control has boxes: none are expected")
    for box in line["boxes"]:
        if not are_numbers(box, 4):
            raise ValueError(f"a box is {box!r}: four numbers are expected")


def _round_corners(corners: tuple[float, ...]) -> list[float]:
    """Four decimals, unless the box would then have no area."""
    x0, y0, x1, y1 = rounded = [round(v, 4) for v in corners]
    return rounded if x0 < x1 and y0 < y1 else list(corners)
