"""`Record`: one image and ONE category with all its boxes; the line format of `records.jsonl`."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TextIO

from umed.boxes import Box
from umed.errors import InputError

_KINDS: dict[str, type] = {"width": int, "height": int, "boxes": list, "provenance": dict}  # all other fields: text
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
SYNTHETIC = "phantom_"  # begins the name of a source or data set whose pictures a program drew
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

    @property
    def window(self) -> tuple[float, float, float] | None:
        """Of a picture with more than 8 bits: gray levels run from `low` to `high` of value + `offset` (HU for CT)."""
        window = self.provenance.get("window")
        if window is None:
            return None
        low, high, offset = window
        return low, high, offset

    def to_json(self) -> dict[str, Any]:
        """The line of `records.jsonl`; boxes as float xyxy pixels of the stored image."""
        line = {name: getattr(self, name) for name in self.__slots__}
        line["boxes"] = [_rounded(b.to_xyxy(self.width, self.height)) for b in self.boxes]
        return line

    @classmethod
    def from_json(cls, line: dict[str, Any], control: bool = False) -> Self:
        """The record of a line of `records.jsonl`; keys that are no field are left out.

        Args:
            control: the line is of `controls.jsonl`: a picture known to be normal, without boxes.

        Raises:
            ValueError: a field is missing, of the wrong type or empty where it may not be; a box is no box.
            OverflowError: a number that no float can hold.
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

    def to_json(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in self.__slots__}


def write_jsonl(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write all lines or none: a reader never sees half a file."""
    with _written_whole(path) as f:
        f.writelines(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)


def write_whole(path: Path, text: str) -> None:
    """Write a text file or nothing."""
    with _written_whole(path) as f:
        f.write(text)


@contextmanager
def _written_whole(path: Path) -> Iterator[TextIO]:
    """A file beside the target, renamed into its place at the end; removed if writing fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    try:
        with half.open("w", encoding="utf-8") as f:
            yield f
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read a file of one JSON object a line.

    Raises:
        InputError: no such file, or a line that is no JSON object (named by its number).
    """
    for _, line in _numbered(path):
        yield line


def read_records(path: Path, controls: bool = False) -> list[Record]:
    """Read `records.jsonl` or `controls.jsonl`; a line that is no record ends with its number in an `InputError`."""
    records = []
    for number, line in _numbered(path):
        try:
            records.append(Record.from_json(line, controls))
        except (ValueError, OverflowError) as error:
            raise InputError(
                f"{path}:{number}: not a record ({error}): correct the line or write the file anew with task=prepare"
            ) from None
    return records


def read_record_set(run: Path) -> RecordSet:
    """The records of a run folder and where their pictures lie.

    Raises:
        InputError: `records.jsonl` or `sources.json` is missing or not readable.
    """
    path = run / "sources.json"
    try:
        roots = {name: Path(root) for name, root in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: no readable list of picture folders ({error}): give a run folder") from None
    return RecordSet(read_records(run / "records.jsonl"), roots)


def with_text(record: Record, query: str, diagnosis: str, **provenance: Any) -> Record:
    """The same record with the annotator's texts, and who wrote them under `provenance`."""
    return replace(record, query=query, diagnosis=diagnosis, provenance={**record.provenance, **provenance})


def is_text(value: str) -> bool:
    """Whether a UTF-8 file and a file name can hold it: no NUL and no half of a surrogate pair."""
    return not _NO_TEXT.search(value)


def _numbered(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a .jsonl file with their line numbers; blank lines are passed over."""
    if not path.is_file():
        raise InputError(f"no file {path}: give the path of a .jsonl file")
    with path.open("rb") as f:  # bytes: a line that is not UTF-8 is a ValueError of that line
        for number, text in enumerate(f, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except (ValueError, RecursionError) as error:
                told = getattr(error, "msg", error)
                raise InputError(f"{path}:{number}: not JSON ({told}): one object a line is expected") from None
            if not isinstance(line, dict):
                raise InputError(f"{path}:{number}: a JSON object is expected, found {type(line).__name__}")
            yield number, line


def _check(line: dict[str, Any], control: bool) -> None:
    """Raise ValueError unless the line has the fields of a record, each of its type."""
    for f in fields(Record):
        if f.name not in line:
            if f.default is MISSING and f.default_factory is MISSING:
                raise ValueError(f"no {f.name}")
            continue
        value, kind = line[f.name], _KINDS.get(f.name, str)
        if type(value) is not kind:  # a bool is no int here
            raise ValueError(f"{f.name} is {value!r}: {kind.__name__} is expected, not {type(value).__name__}")
        if isinstance(value, str) and not is_text(value):
            raise ValueError(f"{f.name} is {value!r}, which no file can hold")
    for name in ("id", "source", "image", "category"):
        if not line[name].strip():
            raise ValueError(f"{name} is empty")
    for name in ("width", "height"):
        if line[name] < 1:
            raise ValueError(f"{name} is {line[name]}: at least 1 is expected")
    window = line.get("provenance", {}).get("window")
    if window is not None and not _is_window(window):
        raise ValueError(f"provenance.window is {window!r}: low, high, offset with low < high are expected")
    if not line["boxes"] and not control:
        raise ValueError("boxes is empty: at least one is expected")
    if line["boxes"] and control:
        raise ValueError("a control has boxes: none are expected")
    for box in line["boxes"]:
        if not isinstance(box, list) or [type(v) in (int, float) for v in box] != [True] * 4:
            raise ValueError(f"a box is {box!r}: four numbers are expected")


def _rounded(corners: tuple[float, ...]) -> list[float]:
    """Four decimals, unless they would close the box."""
    x0, y0, x1, y1 = rounded = [round(v, 4) for v in corners]
    return rounded if x0 < x1 and y0 < y1 else list(corners)


def _is_window(window: Any) -> bool:
    numbers = isinstance(window, list) and [type(v) in (int, float) and math.isfinite(v) for v in window] == [True] * 3
    return numbers and window[0] < window[1]
