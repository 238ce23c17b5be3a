"""Error rates with their intervals, and the agreement of reviewers."""

import pytest
from reviewing import RECORDS, decision, record

from umed.annotate.review import apply_decisions
from umed.annotate.review_report import estimate_error_rate, make_report


def test_the_error_rate_and_its_interval():
    paper = make_report(RECORDS)["paper"]
    assert paper["error_rate"] == pytest.approx(0.0022348, abs=1e-6)
    assert (paper["low"], paper["high"]) == (pytest.approx(0.0013066, abs=1e-6), pytest.approx(0.0038201, abs=1e-6))
    assert estimate_error_rate(0, 10) == {"error_rate": 0, "low": 0, "high": pytest.approx(0.2775, abs=1e-4)}
    assert estimate_error_rate(0, 0) == {"error_rate": None, "low": None, "high": None}
    other = record(7, "t")
    done = [decision(0, "accept"), decision(1, "reject"), decision(7, "accept", base=other)]
    report = make_report(apply_decisions([*RECORDS, other], done, "refuse"))
    assert report["sources"]["s"] | estimate_error_rate(1, 2) == report["sources"]["s"]
    counts = ("reviewed", "accepted", "edited", "rejected", "not_reviewed")
    assert [report["total"][k] for k in counts] == [3, 2, 0, 1, 2]
    assert report["sources"]["t"]["reviewed"] == 1 and report["agreement"] is None


def test_agreement_of_two_and_of_three():
    words = {"anna": ["accept", "accept", "reject", "reject"], "ben": ["accept", "accept", "reject", "accept"]}
    done = [decision(k, w, name) for name, own in words.items() for k, w in enumerate(own)]
    agreement = make_report(apply_decisions(RECORDS, done, "reject"))["agreement"]
    assert agreement == {"reviewers": ["anna", "ben"], "records": 4, "same_decision": 0.75, "kappa": 0.5}
    alike = make_report(apply_decisions(RECORDS[:1], [decision(0, "accept", n) for n in words], "refuse"))["agreement"]
    assert alike == {"reviewers": ["anna", "ben"], "records": 1, "same_decision": 1, "kappa": None}
    three = make_report(apply_decisions(RECORDS, [*done, decision(0, "accept", "cleo")], "reject"))["agreement"]
    assert three == {"reviewers": ["anna", "ben", "cleo"], "records": 4, "same_decision": 0.75, "kappa": None}
