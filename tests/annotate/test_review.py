"""Decisions about diagnoses are applied to the records exactly once."""

import json
from dataclasses import replace

import pytest
from reviewing import RECORDS, TIME, decision, record

from umed.annotate.review import apply_decisions, find_review
from umed.annotate.review_report import make_report
from umed.errors import InputError
from umed.records import Record


def test_decisions_become_the_records():
    edit = {"diagnosis": "A stone is seen at <region>.", "category": "stone", "comment": "no cyst"}
    done = [decision(0, "accept"), decision(1, "edit", **edit), decision(2, "reject")]
    after = apply_decisions(RECORDS, done, "refuse")
    accepted, edited, rejected, untouched = after
    assert untouched == RECORDS[3] and [r.query for r in after] == ["What?"] * 4
    assert (accepted.diagnosis, edited.diagnosis, edited.category) == (RECORDS[0].diagnosis, *list(edit.values())[:2])
    assert (rejected.diagnosis, rejected.category) == ("", "cyst")
    status = [r.provenance["review"]["status"] for r in after[:3]]
    assert status == ["accepted", "edited", "rejected"] and "before" not in accepted.provenance["review"]
    review = edited.provenance["review"]
    assert {k: review[k] for k in ("reviewer", "time", "comment")} == {
        "reviewer": "anna",
        "time": TIME,
        "comment": "no cyst",
    }
    assert review["before"] == {"diagnosis": RECORDS[1].diagnosis, "category": "cyst"}
    later = [replace(d, time="2027-01-01T00:00:00+00:00") for d in done]
    assert apply_decisions(after, done, "refuse") == apply_decisions(after, later, "refuse") == after
    again = [Record.from_json(json.loads(json.dumps(r.to_json()))) for r in after]
    assert apply_decisions(again, done, "refuse") == again
    assert make_report(again) == make_report(after)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (decision(9, "accept"), "file:1: no record has this id"),
        (replace(decision(0, "accept"), hash="0" * 12), "file:1: the sheet shows another diagnosis"),
        (decision(0, "edit", diagnosis="no place"), "file:1: the edited text holds <region> 0 times"),
        (decision(0, "edit", diagnosis="<region> <region>"), "holds <region> 2 times"),
        (decision(0, "edit", diagnosis=record(0).diagnosis), "changes nothing"),
    ],
)
def test_what_cannot_be_applied_is_told(wrong, told):
    with pytest.raises(InputError, match=told):
        apply_decisions(RECORDS, [decision(1, "accept"), wrong], "refuse")


def test_the_category_alone_can_be_corrected():
    (after, *_) = apply_decisions(
        RECORDS, [decision(0, "edit", diagnosis=record(0).diagnosis, category="stone")], "refuse"
    )
    assert (after.diagnosis, after.category) == (record(0).diagnosis, "stone")


def test_a_reviewer_may_change_their_mind():
    first, second = decision(0, "accept"), decision(0, "reject", time="2026-01-03T00:00:00+00:00")
    both = apply_decisions(RECORDS, [second, first], "refuse")
    assert both[0].diagnosis == "" and both == apply_decisions(
        apply_decisions(RECORDS, [first], "refuse"), [second], "refuse"
    )
    assert apply_decisions(both, [first], "refuse") == both  # the older file once more


def test_an_edited_text_can_be_judged_again_and_still_counts_as_an_error():
    edit = decision(0, "edit", diagnosis="A stone at <region>.")
    edited = apply_decisions(RECORDS, [edit], "refuse")
    agree = decision(0, "accept", "ben", edited[0])
    again = apply_decisions(edited, [agree], "refuse")
    assert again[0].diagnosis == edited[0].diagnosis and again[0].provenance["review"]["reviewer"] == "ben"
    assert again[0].provenance["review"]["earlier"] == edited[0].provenance["review"]
    assert apply_decisions(again, [agree], "refuse") == again
    assert make_report(again)["total"]["edited"] == 1
    with pytest.raises(InputError, match="another diagnosis"):  # the first file is of a text that is two reviews old
        apply_decisions(again, [edit], "refuse")


def test_a_text_that_was_written_anew_is_not_reviewed():
    (rejected, *_) = apply_decisions(RECORDS, [decision(0, "reject")], "refuse")
    anew = replace(rejected, diagnosis="Another text at <region>.")
    assert find_review(rejected) and find_review(anew) is None
    assert make_report([anew])["total"]["not_reviewed"] == 1
    with pytest.raises(InputError, match="another diagnosis"):
        apply_decisions([anew], [decision(0, "reject")], "refuse")


def test_reviewers_who_disagree():
    done = [decision(0, "accept"), decision(0, "reject", "ben", time="2026-01-03T00:00:00+00:00")]
    with pytest.raises(InputError, match=r"s/0: the reviewers disagree \(anna: accept, ben: reject\)"):
        apply_decisions(RECORDS, done, "refuse")
    with pytest.raises(InputError, match="s/0: the reviewers disagree"):  # also if ben comes later
        apply_decisions(apply_decisions(RECORDS, done[:1], "refuse"), done[1:], "refuse")
    for rule, by in (("last", "ben"), ("reject", "anna, ben")):
        after = apply_decisions(RECORDS, done, rule)
        assert after[0].diagnosis == "" and after[0].provenance["review"]["reviewer"] == by
        assert apply_decisions(after, done[::-1], rule) == after
    last = apply_decisions(RECORDS, [done[1], replace(done[0], time="2026-01-04T00:00:00+00:00")], "last")
    assert last[0].diagnosis == record(0).diagnosis
    with pytest.raises(InputError, match="task.on_conflict=first"):
        apply_decisions(RECORDS, done, "first")


def test_two_texts_of_one_edit_disagree():
    with pytest.raises(InputError, match="anna: edit, ben: edit"):
        apply_decisions(RECORDS, [decision(0, "edit", d, diagnosis=f"{d} <region>") for d in ("anna", "ben")], "refuse")
