"""Filled-in sheets in any form, and what is wrong with others in one line."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reviewing import ALL, FILLED, GOOD, RECORDS, TIME, filled, record, write_saved

from umed.annotate.review import apply_decisions, hash_text
from umed.annotate.review_sheet import guard, read_sheet, unguard, write_sheet
from umed.errors import InputError


@given(st.text(st.sampled_from("=+-@\t\r\n'\uff1da ")))
def test_a_guarded_cell_comes_back_and_is_no_formula(text: str) -> None:
    assert unguard(guard(text)) == text
    assert not guard(text).startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))


def test_a_filled_in_table_is_read_in_any_form(picture_folders, tmp_path):
    equals = replace(record(0, diagnosis="=1+1 <region>"), id="=s/0")
    records = [equals, *RECORDS[1:]]
    write_sheet(records, picture_folders, tmp_path / "review", "all 4", **ALL)
    path = tmp_path / "review" / "review.csv"
    assert "'=s/0" in path.read_text(encoding="utf-8-sig")
    text = filled(path, FILLED)
    for data in (
        b"\xef\xbb\xbf" + text.encode(), text.encode(), text.replace("\r\n", "\n").encode(), text.encode("latin-1"),
        text.encode("utf-16"),
    ):  # fmt: skip
        path.write_bytes(data)
        os.utime(path, (1e9, 1e9))
        decisions, sheets = read_sheet(path)
        assert sheets == ["all 4"] and [d.decision for d in decisions] == ["accept", "edit", "reject"]
        first, second, third = decisions
        assert (first.id, first.hash, first.reviewer) == ("=s/0", hash_text(equals), "Änna")
        assert second.diagnosis == "-A größer stone,\nat <region>;" and second.comment == "=no"
        assert third.time == "2001-09-09T01:46:40+00:00"
        after = apply_decisions(records, decisions, "refuse")
        assert [r.diagnosis for r in after] == [equals.diagnosis, second.diagnosis, "", RECORDS[3].diagnosis]


def test_a_table_with_semicolons_is_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        f'id;decision;reviewer;hash;corrected_diagnosis\ns/0;edit;ben;{hash_text(record(0))};"a, b <region>"\n'
    )
    ((found,), sheets) = read_sheet(path)
    assert (found.diagnosis, found.category, sheets) == ("a, b <region>", "", [])


def test_what_the_page_saved_is_read(tmp_path):
    edit = {**GOOD, "id": "s/1", "decision": "edit", "diagnosis": " new <region> ", "category": "stone", "comment": "c"}
    path = write_saved(tmp_path / "a.JSON", [GOOD, GOOD, {**edit, "time": "2026-01-02T03:04:05.678Z"}])
    (first, second), sheets = read_sheet(path)
    assert (first.time, first.outcome, sheets) == (TIME, ("accept", "", ""), ["all"])
    assert second.outcome == ("edit", "new <region>", "stone") and second.time == TIME


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"decision": "acept"}, r"a\.json, decision 1, s/0: the decision is 'acept'"),
        ({"decision": "edit"}, "an edit without text"),
        ({"decision": "edit", "diagnosis": " "}, "an edit without text"),
        ({"decision": 1}, "decision is 1: text"),
        ({"comment": "\ud800"}, "comment is .*: text"),
        ({"time": "yesterday"}, "the time is 'yesterday'"),
        ({"hash": ["x"]}, "hash is .*: text"),
    ],
)
def test_a_wrong_entry_is_told(tmp_path, wrong, told):
    with pytest.raises(InputError, match=told):
        read_sheet(write_saved(tmp_path / "a.json", [{**GOOD, **wrong}]))


def test_a_wrong_file_is_told(tmp_path):
    def refused(name: str, content: str | bytes, told: str) -> None:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(InputError, match=told) as error:
            read_sheet(path)
        assert "\n" not in str(error.value) and name in str(error.value)

    with pytest.raises(InputError, match=r"no file .*none\.json"):
        read_sheet(tmp_path / "none.json")
    refused("a.xlsx", b"PK", "neither .json nor .csv")
    refused("a.json", "{", "not JSON")
    refused("b.json", "[" * 100_000, "not JSON")
    refused("c.json", "[]", "no list of decisions")
    refused("d.json", '{"decisions": [1]}', "no list of decisions")
    refused("e.json", '{"decisions": [], "reviewer": "anna"}', "nothing is decided")
    refused("f.json", json.dumps({"decisions": [GOOD]}), "no reviewer")
    refused(
        "g.json", json.dumps({"decisions": [GOOD, {**GOOD, "decision": "reject"}], "reviewer": "a"}), "decides twice"
    )
    stale = {"decisions": [GOOD, {**GOOD, "hash": "another"}], "reviewer": "a"}
    refused("h.json", json.dumps(stale), "decides twice")
    refused("a.csv", b"PK\x03\x04\x00\x01", "no column decision, hash, id, reviewer")
    refused("b.csv", "", "no column")
    head = "id,decision,reviewer,hash\n"
    refused("c.csv", head + "s/0,,anna,x\n", "nothing is decided")
    refused("d.csv", head + "s/0,accept,,x\n", r"d\.csv:2, s/0: no reviewer")
    refused("e.csv", head + "s/0,accept,anna,x\n\ns/0,reject,anna,x\n", r"e\.csv:4: anna decides twice about s/0")
    refused("f.csv", head + "s/0,edit,anna,x\n", "an edit without text")
    refused("g.csv", head + f"{'x' * 140_000},accept,anna,x\n", r"g\.csv:1: not CSV")
