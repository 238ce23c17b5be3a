"""Decisions about diagnoses, applied to the records: who accepted, edited or rejected which text, and why.

A record's review stands in `provenance.review`: `status`, `reviewer`, `time` and `comment`; `before`, what an edit or
a rejection replaced; `hash` and `result`, the text that was judged and the text that came of it; `decisions`, each
reviewer's own; `earlier`, the review of the text before an edit, if the edited text was judged again.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from umed.chat import REGION
from umed.errors import InputError, check_choice
from umed.records import Record
from umed.run_files import is_text

STATUS = {"accept": "accepted", "edit": "edited", "reject": "rejected"}
CONFLICTS = ("refuse", "last", "reject")


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
        """What the record becomes; reviewers with the same outcome agree."""
        return self.decision, self.diagnosis, self.category

    @classmethod
    def read(cls, fields: Mapping[str, Any], where: str) -> "Decision":
        """A decision of a sheet or record; `time`: any ISO time, else UTC. Raises InputError: a wrong field."""
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
        kept = ["decision", "reviewer", "time", "comment"] + ["diagnosis", "category"] * (self.decision == "edit")
        values: dict[str, str] = asdict(self)
        return {name: values[name] for name in kept}


def hash_text(record: Record) -> str:
    """Short hash of what a reviewer judges, category and diagnosis: a sheet of another text is stale."""
    return hashlib.sha256(json.dumps([record.category, record.diagnosis]).encode()).hexdigest()[:12]


def find_review(record: Record) -> dict[str, Any] | None:
    """The review that the record's text came out of; None if there is none or the text was written anew since."""
    review = record.provenance.get("review")
    return review if isinstance(review, dict) and review.get("result") == hash_text(record) else None


def is_rejected(record: Record) -> bool:
    """Whether an expert has rejected the diagnosis: the record stays without one."""
    review = record.provenance.get("review")
    return isinstance(review, dict) and review.get("status") == "rejected"


def list_decisions(record: Record) -> list[Decision]:
    """Each reviewer's decision that is noted in the record."""
    review = find_review(record) or {}
    same = {"id": record.id, "hash": review.get("hash")}
    return [Decision.read({**d, **same}, "provenance.review") for d in review.get("decisions", ())]


def apply_decisions(records: Sequence[Record], decisions: Iterable[Decision], on_conflict: str) -> list[Record]:
    """The records with the decisions applied, in their order; the same decisions a second time change nothing.

    `on_conflict`: where reviewers disagree: `refuse`; `last`, the latest decision holds; `reject`. Raises InputError:
    an unknown id, a text that is no longer the record's, an edit that loses the region or changes nothing, or reviewers
    who disagree.
    """
    check_choice("task.on_conflict", on_conflict, *CONFLICTS)
    by_record: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        by_record[decision.id].append(decision)
    for lost in sorted(by_record.keys() - {r.id for r in records}):
        where = by_record[lost][0].where
        raise InputError(f"{where}: no record has this id: give the records that the sheet was made of")
    return [_apply(r, by_record[r.id], on_conflict) if r.id in by_record else r for r in records]


def _apply(record: Record, new: Sequence[Decision], on_conflict: str) -> Record:
    old = find_review(record)
    if old and old.get("hash") == new[0].hash:  # the same text as before: all decisions about it count together
        before, earlier = {"diagnosis": record.diagnosis, "category": record.category}, old.get("earlier")
        before |= old.get("before", {})
        base = replace(record, diagnosis=before["diagnosis"], category=before["category"])
        decisions = _latest([*list_decisions(record), *new])
    else:
        base, earlier, decisions = record, old, _latest(new)
    for decision in new:
        if decision.hash != hash_text(base):
            raise InputError(
                f"{decision.where}: the sheet shows another diagnosis than the records: make a new sheet with "
                "task=review or give the records that it was made of"
            )
        _check_edit(base, decision)
    word, deciding = _settle(decisions, on_conflict)
    after = base
    if word == "edit":
        after = replace(base, diagnosis=deciding[0].diagnosis, category=deciding[0].category or base.category)
    elif word == "reject":
        after = replace(base, diagnosis="")
    review: dict[str, Any] = {
        "status": STATUS[word],
        "reviewer": ", ".join(d.reviewer for d in deciding),
        "time": deciding[-1].time,
        "comment": "; ".join(d.comment for d in deciding if d.comment),
        "hash": hash_text(base),
        "result": hash_text(after),
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


def _settle(decisions: Sequence[Decision], on_conflict: str) -> tuple[str, Sequence[Decision]]:
    """The decision that holds, and those it rests on."""
    if len({d.outcome for d in decisions}) == 1:
        return decisions[0].decision, decisions
    if on_conflict == "last":
        return decisions[-1].decision, decisions[-1:]
    if on_conflict == "reject":
        return "reject", decisions
    words = ", ".join(f"{d.reviewer}: {d.decision}" for d in decisions)
    raise InputError(
        f"{decisions[0].id}: the reviewers disagree ({words}): let them agree, or set task.on_conflict=last or reject"
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
