"""`task=annotate`: records -> records with query and diagnosis."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from umed.annotate.base import Stopped
from umed.data.prepare import prepare
from umed.data.splits import apply_unseen
from umed.errors import InputError
from umed.records import Record, RecordSet, read_records
from umed.run_files import update_metrics, write_jsonl, write_roots


def annotate(cfg: DictConfig) -> None:
    """Annotate the records, write them back to the run's `records.jsonl` and say how it went."""
    data = prepared(cfg)
    if cfg.annotator.get("dry_run"):
        annotator = instantiate(cfg.annotator)
        print(annotator.estimate([data.records[k] for k in _open(data.records, annotator)]))
        return
    records = _annotate(cfg, data)
    print(summary(records))
    print(f"-> {Path(cfg.paths.run_dir) / 'records.jsonl'}")


def prepared(cfg: DictConfig) -> RecordSet:
    """Records of this run if it has them, else of `records=FILE`, else prepared now; with or without texts."""
    run = Path(cfg.paths.run_dir)
    own = run / "records.jsonl"
    if not own.is_file() and cfg.records is None:
        prepare(cfg)
    source = own if own.is_file() and (cfg.resume or cfg.records is None) else Path(cfg.records)
    records = read_records(source)
    roots = roots_of(cfg, source.parent)
    if not records:
        raise InputError(f"{source}: no records in it")
    lost = sorted({r.source for r in records} - roots.keys())
    if lost:
        raise InputError(
            f"{source}: no folder is known for {', '.join(lost)}: keep sources.json beside the file or set "
            "data.source.<name>.root"
        )
    if source != own and own.is_file():
        records = _with_reviews(own, source, records)
    # a study of the unseen may be made of records that were split before
    kept = apply_unseen(records, cfg.data.split.get("unseen") or {})
    if len(kept) < len(records):
        print(f"data.split.unseen leaves out {len(records) - len(kept)} of {len(records)} records")
    return RecordSet(kept, roots)


def _with_reviews(own: Path, source: Path, records: list[Record]) -> list[Record]:
    """The given records, or the run's own if experts have reviewed them: their decisions are never written over.

    Raises:
        InputError: the run's own are other records.
    """
    reviewed = read_records(own)
    given = {r.id for r in records if "review" in r.provenance}
    lost = sum("review" in r.provenance and r.id not in given for r in reviewed)
    if not lost:
        return records
    if [r.id for r in reviewed] != [r.id for r in records]:
        raise InputError(
            f"{own} holds {lost} reviewed records that {source} lacks: leave records= out to go on with them, or give "
            "another hydra.run.dir"
        )
    print(f"{own} is used: it holds {lost} reviewed records that {source} lacks")
    return reviewed


def is_rejected(record: Record) -> bool:
    """Whether an expert has rejected the diagnosis: the record stays without one."""
    review = record.provenance.get("review")
    return isinstance(review, dict) and review.get("status") == "rejected"


def annotated(cfg: DictConfig) -> RecordSet:
    """The records with query and diagnosis; the run's `records.jsonl` also keeps those that have none.

    Raises:
        InputError: no record has a diagnosis, or the annotator had to stop; what is done is written.
    """
    data = prepared(cfg)
    return replace(data, records=[r for r in _annotate(cfg, data) if r.diagnosis])


def summary(records: Sequence[Record]) -> str:
    """How many records have a diagnosis, why others have none, and what it took where that is known."""
    counts, failed = tally(records), Counter(_note(r).get("reason") for r in records if not r.diagnosis)
    lines = [f"{int(counts['annotate/ok'])} of {len(records)} records with query and diagnosis"]
    lines += [f"failed: {n} x {reason or 'not annotated'}" for reason, n in failed.most_common(10)]
    rest = len(failed) - 10
    lines += [f"and {rest} more reasons, see provenance.annotation"] if rest > 0 else []
    tokens = [note["tokens"] for note in map(_note, records) if isinstance(note.get("tokens"), dict)]
    if tokens:
        said, answered = (sum(_number(t.get(name)) for t in tokens) for name in ("input", "output"))
        cost = counts.get("annotate/cost_usd")
        told = "unknown, see annotator.price" if cost is None else f"${cost:.4f}"
        lines += [f"tokens: {said:,.0f} in, {answered:,.0f} out; cost: {told}"]
    return "\n".join(lines)


def tally(records: Sequence[Record]) -> dict[str, float]:
    """`annotate/ok`, `annotate/failed` and, if that of every paid record is known, `annotate/cost_usd`."""
    ok = sum(bool(r.diagnosis) for r in records)
    counts: dict[str, float] = {"annotate/ok": ok, "annotate/failed": len(records) - ok}
    paid = [note for note in map(_note, records) if note.get("tokens")]
    if paid and all("cost_usd" in note for note in paid):
        counts["annotate/cost_usd"] = round(sum(_number(note["cost_usd"]) for note in paid), 6)
    return counts


def _annotate(cfg: DictConfig, data: RecordSet) -> list[Record]:
    """All records in order, the open ones annotated; written to the run folder whether it ends well or not."""
    records = list(data.records)
    if not all(r.diagnosis for r in records):
        annotator = instantiate(cfg.annotator)
        numbers = _open(records, annotator)
        try:
            done = annotator.annotate([records[k] for k in numbers], data.roots)
        except Stopped as stop:
            _write(cfg, data, _merged(records, numbers, stop.records))
            raise
        records = _merged(records, numbers, done)
    _write(cfg, data, records)
    if not any(r.diagnosis for r in records):
        reason, count = Counter(str(_note(r).get("reason", "not annotated")) for r in records).most_common(1)[0]
        raise InputError(
            f"none of {len(records)} records could be annotated ({count} x {reason}): see provenance.annotation in "
            f"{Path(cfg.paths.run_dir) / 'records.jsonl'}"
        )
    return records


def _open(records: Sequence[Record], annotator: Any) -> list[int]:
    """Those without diagnosis, but not those that an expert rejected.

    What one annotator failed at is not for another, which would mix their wording.
    """
    own = getattr(annotator, "name", None)
    return [
        k
        for k, r in enumerate(records)
        if not r.diagnosis
        and not is_rejected(r)
        and (_note(r).get("status") != "failed" or r.provenance.get("annotator") == own)
    ]


def _merged(records: Sequence[Record], numbers: Sequence[int], done: Sequence[Record]) -> list[Record]:
    new = dict(zip(numbers, done, strict=True))
    return [new.get(k, r) for k, r in enumerate(records)]


def _write(cfg: DictConfig, data: RecordSet, records: Sequence[Record]) -> None:
    run = Path(cfg.paths.run_dir)
    write_roots(run, data.roots)
    update_metrics(run / "metrics.json", tally(records))
    write_jsonl(run / "records.jsonl", (r.to_json() for r in records))


def _note(record: Record) -> dict[str, Any]:
    """What an annotator has noted about its work on a record."""
    note = record.provenance.get("annotation")
    return note if isinstance(note, dict) else {}


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and math.isfinite(value) else 0


def roots_of(cfg: DictConfig, beside: Path) -> dict[str, Path]:
    """Picture folders: those noted beside the records, then those of the configured sources."""
    note = beside / "sources.json"
    noted = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    roots = {name: Path(root) for name, root in noted.items() if Path(root).is_dir()}
    if roots.keys() < noted.keys() or not noted:  # moved, or never noted
        for source in cfg.data.source.values():
            roots = {**instantiate(source).roots, **roots}
    return roots
