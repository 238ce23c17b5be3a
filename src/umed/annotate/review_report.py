"""The result of a review: counts and error rates by source, and how far reviewers agree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.stats import binomtest

from umed.annotate.review import STATUS, find_review, list_decisions
from umed.records import Record

PAPER = {"wrong": 13, "reviewed": 5817}
COUNTS = ("reviewed", *STATUS.values(), "not_reviewed")


def make_report(records: Sequence[Record]) -> dict[str, Any]:
    """Counts, error rates by each record's first review (an accepted edit still was an error), and agreement."""
    sources = {r.source: [o for o in records if o.source == r.source] for r in records}
    return {
        "total": _count(records),
        "sources": {name: _count(own) for name, own in sources.items()},
        "paper": {**PAPER, **estimate_error_rate(PAPER["wrong"], PAPER["reviewed"])},
        "agreement": _agreement(records),
    }


def estimate_error_rate(wrong: int, count: int) -> dict[str, float | None]:
    """Share of wrong diagnoses with its 95 % Wilson interval; None where `count` is 0."""
    if not count:
        return dict.fromkeys(("error_rate", "low", "high"))
    low, high = binomtest(wrong, count).proportion_ci(method="wilson")
    return {"error_rate": wrong / count, "low": float(low), "high": float(high)}


def print_report(report: Mapping[str, Any], sheets: Sequence[str]) -> None:
    """Print counts and error rates by source, in total and of the paper, and the agreement of reviewers."""
    rows = {**report["sources"], "all": report["total"], "the paper": report["paper"]}
    table = Table(title=escape("; ".join(sheets)), title_justify="left")
    table.add_column("source")
    for column in (*COUNTS, "error rate", "95 % interval"):
        table.add_column(column.replace("_", " "), justify="right")
    for name, row in rows.items():
        counts = [str(row.get(column, "-")) for column in COUNTS]
        rate = [f"{row['error_rate']:.2%}", f"{row['low']:.2%} - {row['high']:.2%}"] if row["reviewed"] else ["-", "-"]
        table.add_row(escape(name), *counts, *rate)
    Console(width=140).print(table)
    if agreement := report["agreement"]:
        kappa = "" if agreement["kappa"] is None else f", Cohen's kappa {agreement['kappa']:.2f}"
        who = ", ".join(agreement["reviewers"])
        print(f"{who}: the same decision for {agreement['same_decision']:.1%} of {agreement['records']}{kappa}")


def _count(records: Iterable[Record]) -> dict[str, Any]:
    counts = Counter(_first_status(r) for r in records)
    count = sum(counts[status] for status in STATUS.values())
    return {
        "reviewed": count,
        **{status: counts[status] for status in STATUS.values()},
        "not_reviewed": counts.total() - count,
        **estimate_error_rate(counts["edited"] + counts["rejected"], count),
    }


def _first_status(record: Record) -> str:
    review = find_review(record) or {}
    while "earlier" in review:
        review = review["earlier"]
    return str(review.get("status", ""))


def _agreement(records: Iterable[Record]) -> dict[str, Any] | None:
    """How often reviewers of the same text took the same decision; Cohen's kappa if they are two."""
    several = [pairs for r in records if len(pairs := {d.reviewer: d.decision for d in list_decisions(r)}) > 1]
    if not several:
        return None
    names = sorted({name for pairs in several for name in pairs})
    return {
        "reviewers": names,
        "records": len(several),
        "same_decision": sum(len(set(pairs.values())) == 1 for pairs in several) / len(several),
        "kappa": _kappa([(p[names[0]], p[names[1]]) for p in several]) if len(names) == 2 else None,
    }


def _kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa; None where chance alone agrees as much."""
    first, second = (Counter(words) for words in zip(*pairs, strict=True))
    observed = sum(a == b for a, b in pairs) / len(pairs)
    chance = sum(first[word] * second[word] for word in STATUS) / len(pairs) ** 2
    return None if chance == 1 else (observed - chance) / (1 - chance)
