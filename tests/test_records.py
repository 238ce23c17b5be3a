"""`records.jsonl` and its neighbours: read line by line, written whole or not at all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umed.errors import InputError
from umed.records import read_records
from umed.run_files import read_jsonl, write_jsonl, write_whole

LINE: dict[str, Any] = {
    "id": "folder/a.png", "source": "folder", "image": "a.png", "width": 40, "height": 20, "boxes": [[4, 5, 12, 15]],
    "category": "lung tumor", "modality": "CT", "group": "p1", "split": "train", "provenance": {"raw": [1]},
}  # fmt: skip


def test_a_record_comes_back(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "records.jsonl", [LINE, {**LINE, "id": "é", "unknown": 1}])
    one, two = read_records(tmp_path / "records.jsonl")
    assert {k: v for k, v in one.to_json().items() if v != ""} == LINE and two.id == "é"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("boxes", [], "boxes is empty"),
        ("boxes", {}, "boxes is {}"),
        ("boxes", None, "boxes is None"),
        ("boxes", [[1, 2, 3]], "four numbers"),
        ("boxes", [["1", 2, 3, 4]], "four numbers"),
        ("boxes", ["1234"], "four numbers"),
        ("boxes", [[5, 5, 5, 9]], "no area"),
        ("boxes", [[0, 0, 10**400, 9]], "not four numbers"),
        ("boxes", [[0, 0, float("inf"), 9]], "not finite"),
        ("width", 0, "width is 0"),
        ("height", -3, "height is -3"),
        ("width", "40", "int is expected, not str"),
        ("width", True, "int is expected, not bool"),
        ("width", 10**400, "too large"),
        ("provenance", [], "dict is expected, not list"),
        ("category", 3, "category is 3"),
        ("category", " ", "category is empty"),
        ("split", 0, "split is 0"),
        ("image", None, "image is None"),
        ("image", "a\0.png", "image is 'a\\\\x00.png'"),
        ("diagnosis", "\ud800", "diagnosis is '\\\\ud800'"),
        ("group", ..., "no group"),
    ],
)
def test_what_is_no_record_is_told_with_its_line(tmp_path: Path, field: str, value: Any, told: str) -> None:
    wrong = {k: v for k, v in {**LINE, field: value}.items() if v is not ...}
    path = tmp_path / "records.jsonl"
    path.write_text(f"{json.dumps(LINE)}\n\n{json.dumps(wrong)}\n")
    with pytest.raises(InputError, match=rf"records\.jsonl:3: not a record \(.*{told}.*task=prepare") as error:
        read_records(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", [b"{", b"[1]", b'"\xff"', b"[" * 100_000, b"9" * 5000, b"null"])
def test_what_is_no_object_is_told_with_its_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
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
