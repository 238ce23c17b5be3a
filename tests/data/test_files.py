"""Annotation files as people have them."""

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from items import draw, records

from umed.data.files import list_files, read_json, read_rows, read_table
from umed.data.sources.folder import FolderSource
from umed.errors import InputError


def rows(path: Path, text: str, **options: bool) -> list[tuple[int, list[str]]]:
    path.write_bytes(text.encode())
    return list(read_rows(path, "a table", **options))


def test_a_stray_quote_spoils_its_own_row_alone(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        text = end.join(["a,b", "1,2", '3,"4', '5,"6, 7"', "8,9", ""])
        assert rows(tmp_path / "t.csv", text) == [
            (1, ["a", "b"]), (2, ["1", "2"]), (3, ["3", "4"]), (4, ["5", "6, 7"]), (5, ["8", "9"])
        ]  # fmt: skip


CELL = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])).map(str.strip)


@given(st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_any_table_comes_back(cells: list[list[str]], end: str) -> None:
    header = ["a", "b", "c"]
    rows = [["x", *row] for row in cells]
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows([["id", *header], *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        for encoding in ("utf-8", "utf-8-sig", "utf-16"):
            path.write_bytes(text.getvalue().encode(encoding))
            found = list(read_table(path, "a table", ["b", "id"]))
            expected = [dict(zip(["id", *header], row, strict=True)) for row in rows]
            assert [(line, row, problem) for line, row, problem in found] == [
                (line, row, "") for line, row in enumerate(expected, 2)
            ]


def test_long_cells_have_lines(tmp_path: Path) -> None:
    assert rows(tmp_path / "t.csv", 'a,b\n1,"x\ny"\n2,z\n', long_cells=True) == [
        (1, ["a", "b"]), (3, ["1", "x\ny"]), (4, ["2", "z"])
    ]  # fmt: skip


def test_a_key_that_stands_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": {"x": 1, "y": 2, "x": 3}}')
    with pytest.raises(InputError, match="key x occurs twice"):
        read_json(tmp_path / "a.json", "boxes")


HEADER = "image,x0,y0,x1,y1,category\n"
ROWS = f"{HEADER}ä.png,4,5,12,15,Zyste groß\nb.png,1,1,2,2,cyst\n"


def test_tables_as_people_have_them(tmp_path: Path) -> None:
    for seed, name in enumerate(("ä.png", "b.png")):
        draw(tmp_path / name, seed)
    tables = [ROWS.encode(encoding) for encoding in ("utf-8", "utf-8-sig", "latin-1", "utf-16")]
    tables += [ROWS.replace("\n", "\r\n").encode(), ROWS.replace("\n", "\n\n,,,,,\n").encode()]
    tables += [ROWS.replace(",", " , ").replace(" ,", ",").encode(), ROWS.rstrip().encode()]
    for content in tables:
        (tmp_path / "annotations.csv").write_bytes(content)
        items = list(FolderSource(tmp_path, format="csv").read({}))
        found = {name: record.category for name, record in records(items).items()}
        assert found == {"ä.png": "zyste groß", "b.png": "cyst"} and len(items) == 2, content


def test_tables_that_hold_nothing(tmp_path: Path) -> None:
    table = tmp_path / "annotations.csv"
    wrong = {b"": "empty", b"\xef\xbb\xbf \r\n": "empty", HEADER.encode(): "a header and no row", b"\0\1": "no column"}
    for content, told in wrong.items():
        table.write_bytes(content)
        with pytest.raises(InputError, match=rf"annotations\.csv: {told}") as caught:
            list(FolderSource(tmp_path, format="csv").read({}))
        assert "\n" not in str(caught.value)
    table.unlink()
    with pytest.raises(InputError, match=r"no file .*annotations\.csv"):
        list(FolderSource(tmp_path, format="csv").read({}))
    table.mkdir()
    with pytest.raises(InputError, match=r"annotations\.csv: cannot be read"):
        list(FolderSource(tmp_path, format="csv").read({}))


def test_what_file_managers_add_is_not_listed(tmp_path: Path) -> None:
    names = ["a/0.png", "thumbs.png", ".DS_Store", "a/Thumbs.db", "a/desktop.ini", "a/._0.png", "__MACOSX/a/0.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(tmp_path) == ["a/0.png", "thumbs.png"]
