"""`records.jsonl` and its neighbours: read line by line, written whole or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from umed.errors import InputError
from umed.records import Dropped, read_records
from umed.run_files import write_jsonl

LINE: dict[str, Any] = {
    "id": "folder/a.png", "source": "folder", "image": "a.png", "width": 40, "height": 20, "boxes": [[4, 5, 12, 15]],
    "category": "lung tumor", "modality": "CT", "group": "p1", "split": "train", "provenance": {"raw": [1]},
}  # fmt: skip


def test_a_record_comes_back(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "records.jsonl", [LINE, {**LINE, "id": "é", "unknown": 1}])
    one, two = read_records(tmp_path / "records.jsonl")
    assert {k: v for k, v in one.to_json().items() if v != ""} == LINE and two.id == "é"


WRONG: list[tuple[str, Any, str]] = [
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
    ("provenance", {"window": [0, float("nan"), 1]}, "low < high"),
    ("provenance", {"window": [0, True, 1]}, "low < high"),
    ("provenance", {"window": [5, 5, 0]}, "low < high"),
]


def test_what_is_no_record_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    for field, value, told in WRONG:
        wrong = {k: v for k, v in {**LINE, field: value}.items() if v is not ...}
        path.write_text(f"{json.dumps(LINE)}\n\n{json.dumps(wrong)}\n")
        with pytest.raises(InputError, match=rf"records\.jsonl:3: not a record \(.*{told}.*task=prepare") as error:
            read_records(path)
        assert "\n" not in str(error.value)
    path.write_text(json.dumps(LINE))
    with pytest.raises(InputError, match="a control has boxes: none are expected"):
        read_records(path, controls=True)
    path.write_text(json.dumps({**LINE, "boxes": []}))
    assert read_records(path, controls=True)[0].boxes == ()


def test_a_record_without_boxes_is_of_a_normal_picture(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "records.jsonl", [{**LINE, "boxes": [], "category": "normal"}])
    [record] = read_records(tmp_path / "records.jsonl")
    assert record.boxes == () and record.to_json()["boxes"] == []


def test_what_is_dropped_can_be_written() -> None:
    dropped = Dropped("s", "caf\udce9.png" + "x" * 300, "malformed", "a\0b")
    assert json.dumps(dropped.to_json(), ensure_ascii=False).encode()
    assert dropped.item.startswith("caf\\udce9.png") and dropped.detail == "a\\x00b"
    assert Dropped("s", "日本" * 200, "noisy").item == "日本" * 200
