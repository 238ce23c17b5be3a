"""`task=review`: diagnoses onto a sheet for experts, and their decisions back into the records."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from umed.annotate.review import CONFLICTS, report_of, reviewed
from umed.annotate.review_sheet import drawn_sample, read_sheet, write_sheet
from umed.errors import InputError, check_choice, check_positive
from umed.evaluation.files import update_metrics
from umed.records import RecordSet, write_jsonl, write_whole
from umed.tasks.annotate import prepared
from umed.tasks.prepare import write_roots

COUNTS = ("reviewed", "accepted", "edited", "rejected", "not_reviewed")


def review(cfg: DictConfig) -> None:
    """Write the sheet into `<run>/review/`; with `task.read`, apply the decisions to the run's `records.jsonl`.

    Raises:
        InputError: no records, or see `write_sheet`, `read_sheet` and `reviewed`.
    """
    task, run = cfg.task, Path(cfg.paths.run_dir)
    for name in ("sample", "chunk", "picture_side"):
        check_positive(f"task.{name}", task[name])
    check_choice("task.on_conflict", task.on_conflict, *CONFLICTS)
    if cfg.records is None and not (run / "records.jsonl").is_file():
        raise InputError(f"{run}: no records.jsonl there: give records=FILE or the run folder in hydra.run.dir")
    data = prepared(cfg)
    read = () if task.read is None else task.read
    files = list(read) if isinstance(read, Sequence) and not isinstance(read, str) else [read]
    if files:
        read_back(data, [Path(str(f)) for f in files], task.on_conflict, run)
        return
    records, name = drawn_sample(data.records, task.sample, task.seed)
    pages = write_sheet(records, data.roots, run / "review", name, chunk=task.chunk, picture_side=task.picture_side)
    print(f"{name} -> {pages[0]} ({len(pages)} pages) and {run / 'review' / 'review.csv'}")


def read_back(data: RecordSet, files: list[Path], on_conflict: str, run: Path) -> None:
    """Apply the decisions, write records and report into the run folder, and print the table."""
    decisions, sheets = [], []
    for path in files:
        found, names = read_sheet(path)
        decisions += found
        sheets += names
    records = reviewed(data.records, decisions, on_conflict)
    new = sorted({r.category for r in records} - {r.category for r in data.records})
    report = {**report_of(records), "sheets": sorted(set(sheets))}
    write_roots(run, data.roots)
    write_jsonl(run / "records.jsonl", (r.to_json() for r in records))
    write_whole(run / "review" / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    total = report["total"]
    shown = {"reviewed": "reviewed", "error_rate": "error_rate", "low": "error_rate_low", "high": "error_rate_high"}
    update_metrics(run / "metrics.json", {f"review/{name}": total[key] for key, name in shown.items()})
    print_report(report)
    if new:
        print(f"categories that no record had before: {', '.join(new)}")


def print_report(report: Mapping[str, Any]) -> None:
    """Counts and error rates by source, in all and of the paper; how far reviewers agree."""
    rows = {**report["sources"], "all": report["total"], "the paper": report["paper"]}
    table = Table(title=escape("; ".join(report["sheets"])), title_justify="left")
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
