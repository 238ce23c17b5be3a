"""Annotation files as people have them: with a BOM, with CRLF, in Latin-1, empty, cut off, or outside the root."""

import csv
import errno
import io
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from umed.errors import InputError
from umed.run_files import make_printable

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class Unusable(Exception):
    """A file that gives no record; `reason` is the word of `dropped.jsonl`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(" ".join(detail.split()))
        self.reason = reason


def check_inside(root: Path, file: str) -> None:
    """Raise `Unusable` where the path leads out of the root, by its name or through a link."""
    if "\0" in file:
        raise Unusable("malformed", f"{file!r} is no path of a file")
    real = Path(os.path.realpath(root / file))  # Path.resolve raises on circular links
    if Path(file).is_absolute() or not real.is_relative_to(os.path.realpath(root)):
        raise Unusable("malformed", f"{file} leads out of {root}: move the file there")


def read_inside(root: Path, file: str) -> bytes:
    """A file below the root. Raises Unusable: `malformed` (leads out), `missing_file`, `unreadable` (or no file)."""
    check_inside(root, file)
    try:
        # Path.open has no opener; opening a pipe without a writer would block
        with open(root / file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as f:
            if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
                raise Unusable("unreadable", f"{file}: not a file")
            return f.read()
    except OSError as error:
        reason = "missing_file" if error.errno in _ABSENT else "unreadable"
        raise Unusable(reason, f"{file}: {error.strerror}") from None


def list_files(folder: Path) -> list[str]:
    """All files below a folder, relative, sorted; a link to a folder is listed, not followed.

    Without hidden files and what file managers add: `Thumbs.db` and the like, `__MACOSX/` of archives.
    """
    paths = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if not _is_added(name)]
        paths += [os.path.relpath(os.path.join(place, n), folder) for n in names + links if not _is_added(n)]
    return sorted(paths)


def _is_added(name: str) -> bool:
    return name.startswith(".") or name.casefold() in ("__macosx", "thumbs.db", "desktop.ini")


def drop_suffix(name: str) -> str:
    return os.path.splitext(name)[0]


def decode_text(content: bytes, otherwise: str = "latin-1") -> str:
    """UTF-8 (with or without BOM), UTF-16 with BOM, or else Latin-1."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode(otherwise, errors="replace")


def read_text(path: Path, wanted: str) -> str:
    """The text of a file, see `decode_text`. Raises InputError, naming what is `wanted`: no file, unreadable, empty."""
    try:
        text = decode_text(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"no file {path}: {wanted} is expected there") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): {wanted} is expected there") from None
    if not text.strip():
        raise InputError(f"{path}: empty: {wanted} is expected")
    return text


def read_json(path: Path, wanted: str) -> dict[str, Any]:
    """The object of a JSON file. Raises InputError: as `read_text`; no JSON object, or a key that occurs twice."""
    text = read_text(path, wanted)
    try:
        content = json.loads(text, object_pairs_hook=_check_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}): {wanted} is expected") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object is expected, found {type(content).__name__}")
    return content


def read_yaml(path: Path, wanted: str) -> dict[Any, Any]:
    """The mapping of a YAML file; empty if it holds something else. Raises InputError: as `read_text`; no YAML."""
    text = read_text(path, wanted)
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"{path}: not YAML ({make_printable(problem)}): {wanted} is expected") from None
    return content if isinstance(content, dict) else {}


def read_rows(path: Path, wanted: str, *, long_cells: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with their line numbers, the header first; blank rows are skipped, cells are stripped.

    Each line is a row of its own, so a stray quote spoils one row and not those below it. `long_cells`: cells may have
    several lines, as texts have. Raises InputError: as `read_text`; a header and nothing else; no CSV.
    """
    text = read_text(path, wanted)
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    lines = (line.rstrip("\n") for line in io.StringIO(text, newline=None))
    count = line = 0
    try:
        for row in rows if long_cells else (next(csv.reader([cells], skipinitialspace=True), []) for cells in lines):
            line = rows.line_num if long_cells else line + 1
            cells = [cell.strip() for cell in row]
            if any(cells):
                count += 1
                yield line, cells
    except csv.Error as error:
        raise InputError(f"{path}:{line + 1}: not CSV ({error}): {wanted} is expected") from None
    if count == 1:
        raise InputError(f"{path}: a header and no row: {wanted} is expected")


def read_table(
    path: Path, wanted: str, needed: Sequence[str], *, lower: bool = False, long_cells: bool = False
) -> Iterator[tuple[int, dict[str, str], str]]:
    """The rows of a CSV file by column: line number, cells, and what is wrong with their number ("" = nothing).

    Blank cells beyond the header are ignored, and columns without a name are left out. Raises InputError: as
    `read_rows`; a needed column is missing, or a column occurs twice. `needed`: columns that must be there. `lower`:
    columns are read in lower case.
    """
    rows = read_rows(path, wanted, long_cells=long_cells)
    header = _drop_blanks(next(rows, (0, []))[1], 0)
    header = [name.lower() for name in header] if lower else header
    if missing := [name for name in needed if name not in header]:
        columns = make_printable(",".join(header))
        raise InputError(f"{path}: no column {', '.join(missing)} in {columns}: {wanted} is expected")
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise InputError(f"{path}: column {twice[0]} occurs twice: columns must be unique")
    for line, cells in rows:
        cells = _drop_blanks(cells, len(header))
        row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
        row.pop("", None)
        yield line, row, "" if len(cells) == len(header) else f"{len(cells)} cells, {len(header)} are expected"


def normalize_category(category: str) -> str:
    """A category in lower case with single spaces."""
    return " ".join(category.lower().replace("_", " ").split())


def parse_finite(cells: Iterable[str]) -> tuple[float, ...]:
    """The numbers of these cells. Raises ValueError with the cell's text: no number, infinite, or NaN."""
    numbers = []
    for cell in cells:
        try:
            number = float("x" if "_" in cell else cell)  # Python's own 1_000 is no number in a file
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{make_printable(cell)!r} is no finite number")
        numbers.append(number)
    return tuple(numbers)


def _drop_blanks(cells: list[str], length: int) -> list[str]:
    """Without the blank cells at the end, as far as there are more than `length`."""
    while len(cells) > length and not cells[-1]:
        cells = cells[:-1]
    return cells


def _check_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated keys, of which only the last value would be kept."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {make_printable(next(k for k in keys if keys.count(k) > 1))} occurs twice")
    return content
