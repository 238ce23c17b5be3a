"""The records of a run: prepared where they are not there yet, and annotated where they have no diagnosis."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from umed import config
from umed.annotate.base import Annotator, Stopped
from umed.annotate.review import is_rejected
from umed.data.controls import write_records
from umed.data.prepare import prepare
from umed.data.splits import apply_unseen
from umed.errors import InputError
from umed.records import Record, RecordSet, read_records
from umed.run_files import update_metrics, write_roots


def load_or_prepare(cfg: DictConfig) -> RecordSet:
    """Records of the run, of `records=FILE`, or prepared now. Raises InputError: none, no folder, or lost reviews."""
    own = Path(cfg.paths.run_dir) / "records.jsonl"
    if not own.is_file() and cfg.records is None:
        prepare(cfg)
    path = own if own.is_file() and (cfg.resume or cfg.records is None) else Path(cfg.records)
    records = _read_abnormal(path)
    roots = find_roots(cfg, path.parent)
    if not records:
        raise InputError(f"{path}: no records in it")
    lost = sorted({r.source for r in records} - roots.keys())
    if lost:
        raise InputError(
            f"{path}: no folder is known for {', '.join(lost)}: keep sources.json beside the file or set "
            "data.source.<name>.root"
        )
    if path != own and own.is_file():
        records = _keep_reviews(own, path, records)
    # a study of the unseen may be made of records that were split before
    kept = apply_unseen(records, cfg.data.split.get("unseen") or {})
    if len(kept) < len(records):
        print(f"data.split.unseen leaves out {len(records) - len(kept)} of {len(records)} records")
    return RecordSet(kept, roots)


def load_or_annotate(cfg: DictConfig) -> RecordSet:
    """The annotated records; `records.jsonl` keeps all. Raises InputError: as the two that it calls."""
    data = load_or_prepare(cfg)
    return replace(data, records=[r for r in annotate_records(cfg, data) if r.diagnosis])


def annotate_records(cfg: DictConfig, data: RecordSet) -> list[Record]:
    """All records, annotated and written even on a stop. Raises InputError: stopped, or none has a diagnosis."""
    records = list(data.records)
    if not all(r.diagnosis for r in records):
        annotator: Annotator = config.create(cfg.annotator)
        numbers = find_open(records, annotator.name)
        try:
            done = annotator.annotate([records[k] for k in numbers], data.roots)
        except Stopped as stop:
            _write(cfg, data, _merge(records, numbers, stop.records))
            raise
        records = _merge(records, numbers, done)
    _write(cfg, data, records)
    if not any(r.diagnosis for r in records):
        ((reason, count),) = describe_failures(records, 1)
        raise InputError(
            f"none of {len(records)} records could be annotated ({count} x {reason}): see provenance.annotation in "
            f"{Path(cfg.paths.run_dir) / 'records.jsonl'}"
        )
    return records


def find_open(records: Sequence[Record], annotator: str) -> list[int]:
    """Records without diagnosis, not rejected and not failed by another annotator, whose wording would mix in."""
    return [
        k
        for k, r in enumerate(records)
        if not r.diagnosis
        and not is_rejected(r)
        and (note_of(r).get("status") != "failed" or r.provenance.get("annotator") == annotator)
    ]


def find_roots(cfg: DictConfig, folder: Path) -> dict[str, Path]:
    """Picture folders of the sources: those noted beside the records, then those of the configured sources."""
    path = folder / "sources.json"
    noted = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    roots = {name: Path(root) for name, root in noted.items() if Path(root).is_dir()}
    if roots.keys() < noted.keys() or not noted:  # moved, or never noted
        for source in cfg.data.source.values():
            roots = {**config.create(source).roots, **roots}
    return roots


def _read_abnormal(path: Path) -> list[Record]:
    """The records without controls, which every training chooses anew."""
    return [r for r in read_records(path) if r.boxes]


def _keep_reviews(own: Path, path: Path, records: list[Record]) -> list[Record]:
    """The given records, or the run's own if these were reviewed. Raises InputError: the run's own are others."""
    reviewed = _read_abnormal(own)
    given = {r.id for r in records if "review" in r.provenance}
    lost = sum("review" in r.provenance and r.id not in given for r in reviewed)
    if not lost:
        return records
    if [r.id for r in reviewed] != [r.id for r in records]:
        raise InputError(
            f"{own} holds {lost} reviewed records that {path} lacks: leave records= out to go on with them, or give "
            "another hydra.run.dir"
        )
    print(f"{own} is used: it holds {lost} reviewed records that {path} lacks")
    return reviewed


def _merge(records: Sequence[Record], numbers: Sequence[int], done: Sequence[Record]) -> list[Record]:
    new = dict(zip(numbers, done, strict=True))
    return [new.get(k, r) for k, r in enumerate(records)]


def _write(cfg: DictConfig, data: RecordSet, records: Sequence[Record]) -> None:
    run = Path(cfg.paths.run_dir)
    write_roots(run, data.roots)
    update_metrics(run / "metrics.json", count_annotations(records))
    write_records(run / "records.jsonl", records)


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
