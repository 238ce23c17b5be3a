"""A manifest rebuilds the same set and tells every difference."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from umed.boxes import Box
from umed.data.manifest import select_by_manifest, write_manifest
from umed.errors import InputError
from umed.records import Record


def record(number: int, split: str = "train") -> Record:
    provenance = {"sha256": f"{number:064x}"}
    box = (Box(0.1, 0.2, 1 / 3, 0.9),)
    return Record(f"s/{number}", "s", f"{number}.png", 100, 80, box, "polyp", "CT", "g", split, provenance=provenance)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    write_manifest(path, [record(2, "test"), record(1)], {"split": {"seed": 3}})
    return path


def rebuild(path: Path, records: list[Record]) -> list[Record]:
    return select_by_manifest(records, path, path.parent / "differences.jsonl")


def test_the_set_is_rebuilt_in_its_order_with_its_splits(written: Path) -> None:
    here = [replace(record(i, ""), group="other") for i in (1, 2, 3)]
    assert rebuild(written, here) == [record(2, "test"), record(1)]
    assert not (written.parent / "differences.jsonl").exists()


def test_it_holds_no_picture_and_says_how_the_set_was_made(written: Path) -> None:
    found = json.loads(written.read_text())
    assert found["made"] == {"split": {"seed": 3}}
    assert set(found["records"][0]) == {
        "id", "sha256", "width", "height", "boxes", "category", "modality", "group", "split"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"provenance": {"sha256": "0" * 64}}, "another file"),
        ({"boxes": (Box(0.1, 0.2, 0.5, 0.9),)}, "other boxes"),
        ({"category": "ulcer"}, "another category or size"),
        ({"id": "s/9"}, "missing"),
    ],
)
def test_every_difference_is_told(written: Path, changed: dict, told: str) -> None:
    with pytest.raises(InputError, match=rf"1 of 2 records are not the same here \(1 {told}; first s/1\)"):
        rebuild(written, [record(2), replace(record(1), **changed)])
    [line] = (written.parent / "differences.jsonl").read_text().splitlines()
    assert json.loads(line) == {"id": "s/1", "difference": told}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"records": []}', '{"records": [3]}', '{"records": [{"id": "a"}]}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(InputError, match="not a manifest"):
        rebuild(tmp_path / "m.json", [record(1)])


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        rebuild(tmp_path / "m.json", [record(1)])
