"""Sources on disk -> a run folder's records, with what was dropped, controls, a manifest and an overview."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from umed.data.card import render_card
from umed.data.gather import Gathered, build_sources, gather, split_controls, split_gathered
from umed.data.manifest import read_recipe, select_by_manifest, write_manifest
from umed.data.overview import draw_sheets, print_table
from umed.data.sample import subsample
from umed.data.sources.base import Source
from umed.errors import check_positive
from umed.records import Record
from umed.run_files import update_metrics, write_jsonl, write_roots, write_whole


def prepare(cfg: DictConfig) -> list[Record]:
    """Read every source of `cfg.data.source` into the run folder; see `prepare_records`."""
    options, split = (_to_dict(part) for part in (cfg.data.prepare, cfg.data.split))
    return prepare_records(build_sources(cfg.data.source), split, Path(cfg.paths.run_dir), **options)


def prepare_records(
    sources: Mapping[str, Source],
    split: Mapping[str, Any],
    out: Path,
    *,
    sample: Mapping[str, Any] | None = None,
    manifest: str | None = None,
    workers: int | None = None,
) -> list[Record]:
    """Read, split, sample, check and write; what gives no record is a line of `dropped.jsonl`.

    Raises InputError: a source without a record, two sources of one name, an id that occurs twice, another set than the
    manifest's.

    Args:
        split: arguments of `assign_splits`.
        sample: `total`, `by` and `seed` of `subsample`; taken after the splits, so it changes none.
        manifest: a `manifest.json` that says which records and splits to make, instead of `split` and `sample`.
        workers: threads that open pictures; None = one per core.
    """
    check_positive("data.prepare.workers", workers)
    gathered = gather(sources, workers or os.cpu_count() or 1, out / "dropped.jsonl")
    if manifest:
        records = select_by_manifest(gathered.records, Path(manifest), out / "manifest_differences.jsonl")
        recipe = read_recipe(Path(manifest))
    else:
        options = sample or {"total": None, "by": "natural", "seed": 0}
        records = subsample(split_gathered(gathered, split), **options)
        recipe = {"split": dict(split), "sample": dict(sample or {})}
    counts = _count(gathered, records)
    print_table(records, counts)
    metrics = {f"prepare/{source}/{name}": n for source, count in counts.items() for name, n in count.items()}
    update_metrics(out / "metrics.json", metrics, instead_of="prepare/")
    draw_sheets(records, gathered.roots, out / "figures")
    (out / "controls.jsonl").unlink(missing_ok=True)
    if gathered.controls:
        controls = split_controls(gathered.controls, records, split)
        write_jsonl(out / "controls.jsonl", (r.to_json() for r in controls))
    write_manifest(out / "manifest.json", records, recipe)
    write_whole(out / "data_card.md", render_card(records))
    write_roots(out, gathered.roots)
    write_jsonl(out / "records.jsonl", (r.to_json() for r in records))  # last: its presence means complete
    return records


def _count(gathered: Gathered, records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Source -> `kept`, reasons of dropped items, `controls` and `left_out` -> number."""
    kept, read = Counter(r.source for r in records), Counter(r.source for r in gathered.records)
    counts = {name: {"kept": kept[name], **gathered.dropped[name]} for name in gathered.roots if read[name]}
    for name, controls in Counter(r.source for r in gathered.controls).items():
        counts.setdefault(name, {})["controls"] = controls
    for name in gathered.roots:
        if read[name] > kept[name]:
            counts[name]["left_out"] = read[name] - kept[name]
    return counts


def _to_dict(cfg: DictConfig) -> dict[str, Any]:
    return {str(k): v for k, v in OmegaConf.to_container(cfg, resolve=True).items()}  # type: ignore[union-attr]
