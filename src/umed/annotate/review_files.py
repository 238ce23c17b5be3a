"""Filled-in sheets: the JSON that the page saves, or the CSV file, read as decisions."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from umed.annotate.review import STATUS, Decision
from umed.errors import InputError

FORMULA = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")  # a spreadsheet may run a cell that begins so


def guard(text: str) -> str:
    """A cell that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def unguard(text: str) -> str:
    """The text of a guarded cell."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def read_sheet(path: Path) -> tuple[list[Decision], list[str]]:
    """The decisions of a file that the page saved (.json) or of a filled-in `review.csv`, and the sheets' names.

    A CSV holds no time, so its decisions have that of the file's last change. It may be UTF-8, UTF-16 or Latin-1, with
    commas, semicolons or tabs. Raises InputError: no such file, neither JSON nor CSV, nothing decided, a decision that
    is none (`Decision.read`), or one reviewer who decides differently about one id.
    """
    if not path.is_file():
        raise InputError(f"no file {path}: give what the page saved or the filled-in review.csv in task.read")
    readers = {".json": _read_json, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: neither .json nor .csv: give what the page saved, or save the table as CSV")
    time = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    sheets: Counter[str] = Counter()
    found: dict[tuple[str, str], Decision] = {}
    for where, fields in readers[path.suffix.lower()](path):
        sheets[str(fields.get("sheet") or "")] += 1
        decision = Decision.read({**fields, "time": fields.get("time") or time}, where)
        other = found.setdefault((decision.id, decision.reviewer), decision)
        if other.outcome != decision.outcome or other.hash != decision.hash:
            raise InputError(
                f"{where}: {decision.reviewer} decides twice about {decision.id} ({other.decision}, then "
                f"{decision.decision}): leave one"
            )
    if not found:
        raise InputError(f"{path}: nothing is decided: write {', '.join(STATUS)} for at least one diagnosis")
    return list(found.values()), [name for name in sheets if name]


def _read_json(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of a saved JSON file."""
    try:
        saved = json.loads(_decode(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({getattr(error, 'msg', error)}): give what the page saved") from None
    entries = saved.get("decisions") if isinstance(saved, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise InputError(f"{path}: no list of decisions in it: give what the page saved")
    for number, entry in enumerate(entries, 1):
        yield f"{path}, decision {number}", {**entry, **{k: saved.get(k) for k in ("reviewer", "sheet")}}


def _read_csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The decided rows of a CSV file."""
    for number, row in read_rows(path):
        if word := row.get("decision", "").strip():
            edit = {"diagnosis": row.get("corrected_diagnosis"), "category": row.get("corrected_category")}
            yield f"{path}:{number}", {**row, **edit, "decision": word.lower()}


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows by their line."""
    text = _decode(path)
    first = text.split("\n", 1)[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        missing = {"id", "decision", "reviewer", "hash"} - set(table.fieldnames or ())
        if missing:
            raise InputError(f"{path}: no column {', '.join(sorted(missing))}: give a filled-in review.csv")
        for row in table:
            yield table.line_num, {k: unguard(v) for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}
    except csv.Error as error:
        raise InputError(f"{path}:{table.line_num}: not CSV ({error}): save the table as CSV") from None


def _decode(path: Path) -> str:
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # Latin-1 as spreadsheets write it
