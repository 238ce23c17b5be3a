"""Files of a run folder, written whole or not at all: JSON lines, `metrics.json` and `sources.json`."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from umed.errors import InputError

METRICS = "metrics.json"
_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def is_text(value: str) -> bool:
    """Whether a UTF-8 file and a file name can hold the string: no NUL and no lone surrogate."""
    return not _NO_TEXT.search(value)


def are_numbers(values: Any, count: int) -> bool:
    """Whether a JSON value is a list of so many numbers; true and false are none."""
    return isinstance(values, list) and [type(v) in (int, float) for v in values] == [True] * count


def make_printable(text: str) -> str:
    """Untrusted text as it may stand in a message: odd characters escaped, at most 200 characters."""
    return text[:200] if text[:200].isprintable() else ascii(text[:200])[1:-1]


def write_whole(path: Path, text: str) -> None:
    """Write a text file; on failure the old file stays."""
    with open_whole(path) as f:
        f.write(text)


def write_jsonl(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line; on failure the old file stays."""
    with open_whole(path) as f:
        f.writelines(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)


@contextmanager
def open_whole(path: Path) -> Iterator[TextIO]:
    """Open a temporary file that replaces `path` on success and is removed on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as f:
            yield f
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read one JSON object a line. Raises InputError: no such file, or a line that is none (named by its number)."""
    return (line for _, line in read_numbered_jsonl(path))


def read_numbered_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The same with line numbers; blank lines are skipped."""
    if not path.is_file():
        raise InputError(f"no file {path}: give the path of a .jsonl file")
    with path.open("rb") as f:  # bytes: invalid UTF-8 is reported with the number of its line
        for number, text in enumerate(f, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except (ValueError, RecursionError) as error:
                problem = getattr(error, "msg", error)
                raise InputError(f"{path}:{number}: not JSON ({problem}): one object a line is expected") from None
            if not isinstance(line, dict):
                raise InputError(f"{path}:{number}: a JSON object is expected, found {type(line).__name__}")
            yield number, line


def read_metrics(run: Path) -> dict[str, float]:
    """All numbers of a run folder. Raises InputError: the run has no `metrics.json`, or it is not readable."""
    path = run / METRICS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: no readable metrics ({error}): give a run folder") from None


def update_metrics(path: Path, metrics: Mapping[str, float], instead_of: str | None = None) -> None:
    """Add or replace numbers of the file `path`. `instead_of`: remove the numbers whose names begin so first."""
    old = read_metrics(path.parent) if path.exists() else {}
    kept = {k: v for k, v in old.items() if instead_of is None or not k.startswith(instead_of)}
    write_whole(path, json.dumps({**kept, **metrics}, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_roots(run: Path, roots: Mapping[str, Path]) -> None:
    """Write `sources.json`: the folder of each source's pictures."""
    text = json.dumps({name: str(root) for name, root in roots.items()}, indent=1)
    write_whole(run / "sources.json", text + "\n")
