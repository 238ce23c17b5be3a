"""Annotation files as people have them: with a BOM, with CRLF, in Latin-1, empty, or cut off."""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from umed.errors import InputError


def read_text(path: Path, wanted: str) -> str:
    """The text of a file in UTF-8 (with or without BOM), UTF-16 with BOM, or else Latin-1.

    Args:
        wanted: what should lie there, for the message.

    Raises:
        InputError: no file, unreadable, or nothing in it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"no file {path}: {wanted} is expected there") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): {wanted} is expected there") from None
    text = as_text(content)
    if not text.strip():
        raise InputError(f"{path}: empty: {wanted} is expected")
    return text


def as_text(content: bytes) -> str:
    """UTF-8 (with or without BOM), UTF-16 with BOM, or else Latin-1."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def finite(cells: Iterable[str]) -> tuple[float, ...]:
    """The numbers of these cells.

    Raises:
        ValueError: a cell is no number, infinite, or NaN; its text is in the message.
    """
    numbers = []
    for cell in cells:
        try:
            number = float("x" if "_" in cell else cell)  # Python's own 1_000 is no number in a file
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{printable(cell)!r} is no finite number")
        numbers.append(number)
    return tuple(numbers)


def printable(text: str) -> str:
    """Untrusted text as it may stand in a message: odd characters escaped, not too long."""
    return text[:200] if text[:200].isprintable() else ascii(text[:200])


def read_rows(path: Path, wanted: str, *, long_cells: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file with their line numbers, the header first; blank rows are passed over.

    Each line is a row of its own, so a stray quote spoils one row and not those below it.

    Args:
        long_cells: cells may have several lines, as texts have.

    Raises:
        InputError: as `read_text`; a header and nothing else; no CSV.
    """
    text = read_text(path, wanted)
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    count = line = 0
    try:
        for row in rows if long_cells else _single(text):
            line = rows.line_num if long_cells else line + 1
            if any(cell.strip() for cell in row):
                count += 1
                yield line, row
    except csv.Error as error:
        raise InputError(f"{path}:{line + 1}: not CSV ({error}): {wanted} is expected") from None
    if count == 1:
        raise InputError(f"{path}: a header and no row: {wanted} is expected")


def _single(text: str) -> Iterator[list[str]]:
    for line in io.StringIO(text, newline=None):
        yield next(csv.reader([line.rstrip("\n")], skipinitialspace=True), [])


def read_json(path: Path, wanted: str) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        InputError: as `read_text`; no JSON object.
    """
    text = read_text(path, wanted)
    try:
        found = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}): {wanted} is expected") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: a JSON object is expected, found {type(found).__name__}")
    return found


def files_below(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it and sorted; hidden ones are left out.

    A link to a folder is named and not followed: it may lead out, or round in a circle.
    """
    found = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.relpath(os.path.join(place, n), folder) for n in names + links if not n.startswith(".")]
    return sorted(found)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON file; a key that stands there twice would lose what the first one says."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {printable(next(k for k in keys if keys.count(k) > 1))} occurs twice")
    return found
