"""How many records were annotated, why others failed, and what it cost."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from umed.records import Record


def note_of(record: Record) -> dict[str, Any]:
    """`provenance.annotation`: what an annotator has noted about its work on a record."""
    note = record.provenance.get("annotation")
    return note if isinstance(note, dict) else {}


def count_annotations(records: Sequence[Record]) -> dict[str, float]:
    """`annotate/ok`, `annotate/failed` and, if that of every paid record is known, `annotate/cost_usd`."""
    ok = sum(bool(r.diagnosis) for r in records)
    counts: dict[str, float] = {"annotate/ok": ok, "annotate/failed": len(records) - ok}
    paid = [note for note in map(note_of, records) if note.get("tokens")]
    if paid and all("cost_usd" in note for note in paid):
        counts["annotate/cost_usd"] = round(sum(_number(note["cost_usd"]) for note in paid), 6)
    return counts


def describe_failures(records: Sequence[Record], most: int | None = None) -> list[tuple[str, int]]:
    """The reasons why records have no diagnosis and their counts, the most frequent first."""
    failed = Counter(str(note_of(r).get("reason") or "not annotated") for r in records if not r.diagnosis)
    return failed.most_common(most)


def summarize(records: Sequence[Record]) -> str:
    """How many records have a diagnosis, why others have none, and what it took where that is known."""
    counts, failures = count_annotations(records), describe_failures(records)
    lines = [f"{int(counts['annotate/ok'])} of {len(records)} records with query and diagnosis"]
    lines += [f"failed: {n} x {reason}" for reason, n in failures[:10]]
    lines += [f"and {len(failures) - 10} more reasons, see provenance.annotation"] if len(failures) > 10 else []
    tokens = [note["tokens"] for note in map(note_of, records) if isinstance(note.get("tokens"), dict)]
    if tokens:
        tokens_in, tokens_out = (sum(_number(t.get(name)) for t in tokens) for name in ("input", "output"))
        cost = counts.get("annotate/cost_usd")
        amount = "unknown, see annotator.price" if cost is None else f"${cost:.4f}"
        lines += [f"tokens: {tokens_in:,.0f} in, {tokens_out:,.0f} out; cost: {amount}"]
    return "\n".join(lines)


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and math.isfinite(value) else 0
