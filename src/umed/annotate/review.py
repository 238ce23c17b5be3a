"""Decisions about diagnoses, brought back into the records: who accepted, edited or rejected which text, and why.

A record's review stands in `provenance.review`: `status`, `reviewer`, `time` and `comment`; `before`, what an edit or
a rejection replaced; `hash` and `result`, the text that was judged and the text that came of it; `decisions`, each
reviewer's own; `earlier`, the review of the text before an edit, if the edited text was judged again.
"""

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from scipy.stats import binomtest

from umed.chat import REGION
from umed.errors import InputError, check_choice
from umed.records import Record, is_text

STATUS = {"accept": "accepted", "edit": "edited", "reject": "rejected"}
CONFLICTS = ("refuse", "last", "reject")
PAPER = {"wrong": 13, "reviewed": 5817}


@dataclass(frozen=True, slots=True)
class Decision:
    """What one reviewer decided about one text; `where` names the place it was read from."""

    id: str
    hash: str
    decision: str
    reviewer: str
    time: str
    comment: str = ""
    diagnosis: str = ""
    category: str = ""
    where: str = ""

    @property
    def outcome(self) -> tuple[str, str, str]:
        """What the record becomes: reviewers who give the same agree."""
        return self.decision, self.diagnosis, self.category

    @classmethod
    def read(cls, fields: Mapping[str, Any], where: str) -> "Decision":
        """A decision as a sheet or a record holds it; `time` is any ISO time, taken as UTC if it names no zone.

        Raises:
            InputError: a field is missing, no text or unknown; no reviewer; an edit without text.
        """
        names = [name for name in cls.__slots__ if name != "where"]
        values = {name: "" if fields.get(name) is None else fields[name] for name in names}
        wrong = [name for name, value in values.items() if not isinstance(value, str) or not is_text(value)]
        if wrong:
            raise InputError(f"{where}: {wrong[0]} is {fields[wrong[0]]!r}: text is expected")
        values = {name: value if name == "id" else value.strip() for name, value in values.items()}
        where = f"{where}, {values['id']}"
        if values["decision"] not in STATUS:
            raise InputError(f"{where}: the decision is {values['decision']!r}: write {', '.join(STATUS)} or nothing")
        if not values["reviewer"]:
            raise InputError(f"{where}: no reviewer: write who decided")
        if values["decision"] != "edit":
            values |= {"diagnosis": "", "category": ""}
        elif not values["diagnosis"]:
            raise InputError(f"{where}: an edit without text: write the corrected diagnosis, or accept or reject it")
        try:
            time = datetime.fromisoformat(values["time"])
        except ValueError:
            raise InputError(f"{where}: the time is {values['time']!r}: an ISO time is expected") from None
        values["time"] = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).isoformat("T", "seconds")
        return cls(**values, where=where)

    def to_json(self) -> dict[str, str]:
        """Its entry in `provenance.review.decisions`."""
        kept = ("decision", "reviewer", "time", "comment")
        edit = {"diagnosis": self.diagnosis, "category": self.category} if self.decision == "edit" else {}
        return {name: getattr(self, name) for name in kept} | edit


def hash_of(record: Record) -> str:
    """Short hash of what a reviewer judges, category and diagnosis: a sheet of another text is stale."""
    return hashlib.sha256(json.dumps([record.category, record.diagnosis]).encode()).hexdigest()[:12]


def review_of(record: Record) -> dict[str, Any] | None:
    """The review that the record's text came out of; None if there is none or the text was written anew since."""
    review = record.provenance.get("review")
    return review if isinstance(review, dict) and review.get("result") == hash_of(record) else None


def decisions_of(record: Record) -> list[Decision]:
    """Each reviewer's decision that is noted in the record."""
    review = review_of(record) or {}
    same = {"id": record.id, "hash": review.get("hash")}
    return [Decision.read({**d, **same}, "provenance.review") for d in review.get("decisions", ())]


def reviewed(records: Sequence[Record], decisions: Iterable[Decision], on_conflict: str) -> list[Record]:
    """The records with the decisions applied, in their order; the same decisions a second time change nothing.

    Args:
        on_conflict: where reviewers disagree: `refuse`; `last`, the latest decision holds; `reject`.

    Raises:
        InputError: an unknown id, a text that is no longer the record's, an edit that loses the region or changes
            nothing, or reviewers who disagree.
    """
    check_choice("task.on_conflict", on_conflict, *CONFLICTS)
    of: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        of[decision.id].append(decision)
    for lost in sorted(of.keys() - {r.id for r in records}):
        raise InputError(f"{of[lost][0].where}: no record has this id: give the records that the sheet was made of")
    return [_reviewed(r, of[r.id], on_conflict) if r.id in of else r for r in records]


def _reviewed(record: Record, new: Sequence[Decision], on_conflict: str) -> Record:
    old = review_of(record)
    if old and old.get("hash") == new[0].hash:  # the same text as before: all decisions about it count together
        before, earlier = {"diagnosis": record.diagnosis, "category": record.category}, old.get("earlier")
        before |= old.get("before", {})
        base = replace(record, diagnosis=before["diagnosis"], category=before["category"])
        decisions = _latest([*decisions_of(record), *new])
    else:
        base, earlier, decisions = record, old, _latest(new)
    for decision in new:
        if decision.hash != hash_of(base):
            raise InputError(
                f"{decision.where}: the sheet shows another diagnosis than the records: make a new sheet with "
                "task=review or give the records that it was made of"
            )
        _check_edit(base, decision)
    word, voices = _settled(decisions, on_conflict)
    after = base
    if word == "edit":
        after = replace(base, diagnosis=voices[0].diagnosis, category=voices[0].category or base.category)
    elif word == "reject":
        after = replace(base, diagnosis="")
    review: dict[str, Any] = {
        "status": STATUS[word],
        "reviewer": ", ".join(v.reviewer for v in voices),
        "time": voices[-1].time,
        "comment": "; ".join(v.comment for v in voices if v.comment),
        "hash": hash_of(base),
        "result": hash_of(after),
        "decisions": [d.to_json() for d in decisions],
    }
    if after != base:
        review["before"] = {"diagnosis": base.diagnosis, "category": base.category}
    if earlier:
        review["earlier"] = earlier
    return replace(after, provenance={**record.provenance, "review": review})


def _latest(decisions: Sequence[Decision]) -> list[Decision]:
    """One of each reviewer, by time; one that only repeats what was decided keeps its first time."""
    last: dict[str, Decision] = {}
    for decision in sorted(decisions, key=lambda d: d.time):
        known = last.get(decision.reviewer)
        if not known or (known.outcome, known.comment) != (decision.outcome, decision.comment):
            last[decision.reviewer] = decision
    return sorted(last.values(), key=lambda d: d.time)


def _settled(decisions: Sequence[Decision], on_conflict: str) -> tuple[str, Sequence[Decision]]:
    """What holds, and the decisions it rests on."""
    if len({d.outcome for d in decisions}) == 1:
        return decisions[0].decision, decisions
    if on_conflict == "last":
        return decisions[-1].decision, decisions[-1:]
    if on_conflict == "reject":
        return "reject", decisions
    told = ", ".join(f"{d.reviewer}: {d.decision}" for d in decisions)
    raise InputError(
        f"{decisions[0].id}: the reviewers disagree ({told}): let them agree, or set task.on_conflict=last or reject"
    )


def _check_edit(base: Record, decision: Decision) -> None:
    if decision.decision != "edit":
        return
    before, after = (text.count(REGION) for text in (base.diagnosis, decision.diagnosis))
    if base.boxes and (after > 1 or after < before):
        raise InputError(
            f"{decision.where}: the edited text holds {REGION} {after} times: write it once, where the boxes stand"
        )
    if (decision.diagnosis, decision.category or base.category) == (base.diagnosis, base.category):
        raise InputError(f"{decision.where}: an edit that changes nothing: correct the text, or accept or reject it")


def error_rate(wrong: int, count: int) -> dict[str, float | None]:
    """Share of wrong diagnoses with its 95 % Wilson interval; None of nothing."""
    if not count:
        return dict.fromkeys(("error_rate", "low", "high"))
    low, high = binomtest(wrong, count).proportion_ci(method="wilson")
    return {"error_rate": wrong / count, "low": float(low), "high": float(high)}


def report_of(records: Sequence[Record]) -> dict[str, Any]:
    """Counts, error rates and agreement of all reviews that the records hold.

    A record counts with its first review: an edit that is accepted later was still an error of the annotator.
    """
    sources = {r.source: [o for o in records if o.source == r.source] for r in records}
    return {
        "total": _counts(records),
        "sources": {name: _counts(own) for name, own in sources.items()},
        "paper": {**PAPER, **error_rate(PAPER["wrong"], PAPER["reviewed"])},
        "agreement": _agreement(records),
    }


def _counts(records: Iterable[Record]) -> dict[str, Any]:
    counts = Counter(_first_status(r) for r in records)
    count = sum(counts[status] for status in STATUS.values())
    return {
        "reviewed": count,
        **{status: counts[status] for status in STATUS.values()},
        "not_reviewed": counts.total() - count,
        **error_rate(counts["edited"] + counts["rejected"], count),
    }


def _first_status(record: Record) -> str:
    review = review_of(record) or {}
    while "earlier" in review:
        review = review["earlier"]
    return str(review.get("status", ""))


def _agreement(records: Iterable[Record]) -> dict[str, Any] | None:
    """How often reviewers of the same text took the same decision; Cohen's kappa if they are two."""
    several = [pairs for r in records if len(pairs := {d.reviewer: d.decision for d in decisions_of(r)}) > 1]
    if not several:
        return None
    names = sorted({name for pairs in several for name in pairs})
    return {
        "reviewers": names,
        "records": len(several),
        "same_decision": sum(len(set(pairs.values())) == 1 for pairs in several) / len(several),
        "kappa": _kappa([[list(STATUS).index(p[n]) for p in several] for n in names]) if len(names) == 2 else None,
    }


def _kappa(both: Sequence[Sequence[int]]) -> float | None:
    import torch  # a second or two that only two reviewers need
    from torchmetrics.functional.classification import multiclass_cohen_kappa

    value = float(multiclass_cohen_kappa(torch.tensor(both[0]), torch.tensor(both[1]), num_classes=len(STATUS)))
    return value if math.isfinite(value) else None  # all decisions alike: chance alone agrees as much
