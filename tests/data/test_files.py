"""Annotation files as people have them."""

from pathlib import Path

import pytest

from umed.data.files import read_json, read_rows
from umed.errors import InputError


def rows(path: Path, text: str, **options: bool) -> list[tuple[int, list[str]]]:
    path.write_bytes(text.encode())
    return list(read_rows(path, "a table", **options))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stray_quote_spoils_its_own_row_alone(tmp_path: Path, end: str) -> None:
    text = end.join(["a,b", "1,2", '3,"4', '5,"6, 7"', "8,9", ""])
    assert rows(tmp_path / "t.csv", text) == [
        (1, ["a", "b"]), (2, ["1", "2"]), (3, ["3", "4"]), (4, ["5", "6, 7"]), (5, ["8", "9"])
    ]  # fmt: skip


def test_long_cells_have_lines(tmp_path: Path) -> None:
    assert rows(tmp_path / "t.csv", 'a,b\n1,"x\ny"\n2,z\n', long_cells=True) == [
        (1, ["a", "b"]), (3, ["1", "x\ny"]), (4, ["2", "z"])
    ]  # fmt: skip


def test_a_key_that_stands_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": {"x": 1, "y": 2, "x": 3}}')
    with pytest.raises(InputError, match="key x occurs twice"):
        read_json(tmp_path / "a.json", "boxes")
