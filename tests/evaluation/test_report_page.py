"""The report's HTML page: what a file says is text, never a part of the page."""

import json
from pathlib import Path

import pytest

from umed.errors import InputError
from umed.evaluation.paper_tables import Cell, PaperTable, Row
from umed.evaluation.report_page import build_page, read_note

EVIL = "<script>alert(1)</script>"


def test_what_a_file_says_is_no_part_of_the_page(tmp_path: Path) -> None:
    run = tmp_path / "<script>"
    (run / "predictions" / "<script>").mkdir(parents=True)
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text(f"{{model: {{path: '{EVIL}'}}, seed: 3}}")
    (run / ".hydra" / "overrides.yaml").write_text(f"- '{EVIL}'")
    (run / "metrics.json").write_text(json.dumps({"prepare/<script>/kept": 3, "prepare/a/unlabeled": 1}))
    overlap = {"pictures": 1, "items": 1}
    (run / "leaks.json").write_text(json.dumps({EVIL: {"pictures": 2, "items": 2, EVIL: overlap}}))
    splits = {EVIL: {"file": EVIL, "sha256": EVIL, "protocol": EVIL, "origin": ""}}
    (run / "predictions" / "<script>" / "splits.json").write_text(json.dumps(splits))
    table = PaperTable(EVIL, EVIL, {"a": EVIL}, [Row(EVIL, "ours", {"a": Cell(1.0, EVIL, EVIL, 2)})], 1, [EVIL])
    page = build_page(run, [table], {EVIL: b"PNG"})
    assert "<script" not in page and page.count("&lt;script&gt;") > 10
    assert "seed 3" in page and "1 of 2 test pictures (1 of 2 items) are in" in page
    assert "Records: &lt;script&gt; 3<" in page


def test_a_run_that_has_noted_nothing_has_a_page(tmp_path: Path) -> None:
    page = build_page(tmp_path, [], {})
    assert page.startswith("<!doctype html>") and tmp_path.name in page and "Test pictures" not in page
    assert read_note(tmp_path / "leaks.json") == {}
    for damaged in ("{", "[1]", "3"):
        (tmp_path / "leaks.json").write_text(damaged)
        with pytest.raises(InputError, match="leaks.json: not readable .*: evaluate the run anew, or remove"):
            read_note(tmp_path / "leaks.json")
