"""Files of a run folder: read line by line, written whole or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umed.errors import InputError
from umed.run_files import read_jsonl, read_metrics, update_metrics, write_jsonl, write_whole


def test_what_is_no_object_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for line in (b"{", b"[1]", b'"\xff"', b"[" * 100_000, b"9" * 5000, b"null"):
        path.write_bytes(b"\xef\xbb\xbf{}\r\n \n" + line + b"\n")
        with pytest.raises(InputError, match=r"a\.jsonl:3: .*expected"):
            list(read_jsonl(path))


def test_what_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    def lines() -> Iterator[dict[str, Any]]:
        yield {"a": 2}
        raise KeyboardInterrupt

    path = tmp_path / "new" / "a.jsonl"
    write_jsonl(path, [{"a": 1}])
    with pytest.raises(KeyboardInterrupt):
        write_jsonl(path, lines())
    with pytest.raises(ValueError, match="JSON compliant"):
        write_jsonl(path, [{"a": float("nan")}])
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "\ud800")
    assert path.read_text() == '{"a": 1}\n' and list(path.parent.iterdir()) == [path]
    write_whole(path, "é\n")
    assert path.read_bytes() == "é\n".encode() and list(path.parent.iterdir()) == [path]


def test_metrics_that_are_broken_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics\.json: no readable metrics"):
        read_metrics(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match=r"metrics\.json"):
        update_metrics(tmp_path / "metrics.json", {"a": 1})
