"""`task=review`: diagnoses onto a sheet for experts, and their decisions back into the records."""

import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from umed.annotate.review import CONFLICTS, apply_decisions
from umed.annotate.review_report import make_report, print_report
from umed.annotate.review_sheet import draw_sample, read_sheet, write_sheet
from umed.annotate.stage import load_or_prepare
from umed.data.controls import write_records
from umed.errors import InputError, check_choice, check_positive
from umed.records import RecordSet
from umed.run_files import update_metrics, write_roots, write_whole


def review(cfg: DictConfig) -> None:
    """Write the sheet into `<run>/review/`; with `task.read`, apply the decisions to the run's `records.jsonl`.

    Raises:
        InputError: no records, or see `write_sheet`, `read_sheet` and `apply_decisions`.
    """
    task, run = cfg.task, Path(cfg.paths.run_dir)
    for name in ("sample", "chunk", "picture_side"):
        check_positive(f"task.{name}", task[name])
    check_choice("task.on_conflict", task.on_conflict, *CONFLICTS)
    if cfg.records is None and not (run / "records.jsonl").is_file():
        raise InputError(f"{run}: no records.jsonl there: give records=FILE or the run folder in hydra.run.dir")
    data = load_or_prepare(cfg)
    read = () if task.read is None else task.read
    files = list(read) if isinstance(read, Sequence) and not isinstance(read, str) else [read]
    if files:
        read_back(data, [Path(str(f)) for f in files], task.on_conflict, run)
        return
    records, name = draw_sample(data.records, task.sample, task.seed)
    pages = write_sheet(records, data.roots, run / "review", name, chunk=task.chunk, picture_side=task.picture_side)
    print(f"{name} -> {pages[0]} ({len(pages)} pages) and {run / 'review' / 'review.csv'}")


def read_back(data: RecordSet, files: list[Path], on_conflict: str, run: Path) -> None:
    """Apply the decisions, write records and report into the run folder, and print the table."""
    decisions, sheets = [], set[str]()
    for path in files:
        found, names = read_sheet(path)
        decisions += found
        sheets |= set(names)
    records = apply_decisions(data.records, decisions, on_conflict)
    report = make_report(records)
    total = report["total"]
    write_roots(run, data.roots)
    write_records(run / "records.jsonl", records)
    text = json.dumps({**report, "sheets": sorted(sheets)}, indent=1, ensure_ascii=False)
    write_whole(run / "review" / "report.json", text + "\n")
    shown = {"reviewed": "reviewed", "error_rate": "error_rate", "low": "error_rate_low", "high": "error_rate_high"}
    update_metrics(run / "metrics.json", {f"review/{name}": total[key] for key, name in shown.items()})
    print_report(report, sorted(sheets))
    new = sorted({r.category for r in records} - {r.category for r in data.records})
    if new:
        print(f"categories that no record had before: {', '.join(new)}")
