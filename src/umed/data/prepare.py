"""Sources on disk -> a run folder's records, with what was dropped, controls, a manifest and an overview."""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getattr_static
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from umed.config import find_target
from umed.data.card import render_card
from umed.data.controls import split_controls
from umed.data.manifest import read_recipe, select_by_manifest, write_manifest
from umed.data.sample import subsample
from umed.data.sources.base import Copy, Source
from umed.data.sources.seen import Seen, find_displaced
from umed.data.splits import SPLITS, assign_splits, explain_empty_splits
from umed.errors import InputError, check_positive
from umed.pictures import contact_sheet, draw_boxes, picture_of
from umed.records import SYNTHETIC, Dropped, Record
from umed.run_files import make_printable, update_metrics, write_jsonl, write_roots, write_whole

log = logging.getLogger(__name__)

SHOWN, CELL = 12, 320  # pictures of a contact sheet, and their side in pixels


@dataclass
class Gathered:
    """What the sources gave, in their order; `dropped` counts source -> reason -> items, of which the first is kept."""

    roots: dict[str, Path]
    records: list[Record] = field(default_factory=list)
    controls: list[Record] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    dropped: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    first_dropped: dict[str, Dropped] = field(default_factory=dict)


def prepare(cfg: DictConfig) -> list[Record]:
    """Read every source of `cfg.data.source` into the run folder; see `prepare_records`."""
    parts: list[Any] = [OmegaConf.to_container(part, resolve=True) for part in (cfg.data.prepare, cfg.data.split)]
    options, split = parts
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

    Raises InputError: see `gather`; another set of records than the manifest's.

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
        records = split_gathered(gathered, split)
        if not any((split.get("unseen") or {}).values()):  # which means to leave some empty
            for line in explain_empty_splits(
                records, split["fractions"], {r.source for r in gathered.records if r.split}
            ):
                log.warning(line)
        records = subsample(records, **options)
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


def build_sources(nodes: Mapping[str, Any]) -> dict[str, Source]:
    """The sources of `cfg.data.source`. Raises InputError: none, or one that lacks what `Source` asks for."""
    if not nodes:
        raise InputError("data/source is empty: choose sources, as in 'data/source=[phantom]'")
    sources = {}
    for name, node in nodes.items():
        if missing := sorted(getattr(find_target(f"data.source.{name}", node), "__abstractmethods__", ())):
            raise InputError(f"data.source.{name}: {node._target_} lacks {', '.join(missing)}: see PictureSource")
        sources[str(name)] = instantiate(node)
    return sources


def gather(sources: Mapping[str, Source], workers: int, dropped_file: Path) -> Gathered:
    """Read all sources. Raises InputError: one that is none, is empty or has a taken name; an id that occurs twice."""
    gathered = Gathered(_collect_roots(sources))
    write_jsonl(dropped_file, (dropped.to_json() for dropped in _read(sources, workers, gathered)))
    for source in sources.values():
        _check_not_empty(source, gathered, dropped_file)
    [(most_frequent, times)] = Counter(r.id for r in [*gathered.records, *gathered.controls]).most_common(1)
    if times > 1:
        raise InputError(f"record id {most_frequent} occurs {times} times: file names must be unique in a source")
    return gathered


def split_gathered(gathered: Gathered, split: Mapping[str, Any]) -> list[Record]:
    """The records with their splits, without those that a study of the unseen leaves out.

    A copy counts for its own source while that source is split, so its other groups stay where they are; the copy's
    group goes where the group of the kept picture is. `split`: arguments of `assign_splits`.
    """
    group_of = {(r.source, r.image): r.group for r in [*gathered.records, *gathered.controls]}
    links = [
        ((copy.first[0], group_of[copy.first]), (copy.record.source, copy.record.group))
        for copy in gathered.copies
        if copy.first in group_of
    ]
    copies = [c.record for c in gathered.copies if c.record.boxes and c.record.source != c.first[0]]
    ids = {r.id for r in gathered.records}
    return [r for r in assign_splits([*gathered.records, *copies], **split, links=links) if r.id in ids]


def _collect_roots(sources: Mapping[str, Source]) -> dict[str, Path]:
    roots: dict[str, Path] = {}
    for name, source in sources.items():
        if missing := [part for part in ("roots", "read") if getattr_static(source, part, None) is None]:
            kind = type(source).__name__
            raise InputError(
                f"data.source.{name}: {kind} lacks {' and '.join(missing)}: a source needs both, see Source"
            )
        if twice := sorted(roots.keys() & source.roots.keys()):
            raise InputError(f"two sources are called {', '.join(twice)}: set data.source.{name}.name")
        roots |= {key: Path(root).resolve() for key, root in source.roots.items()}
    return roots


def _read(sources: Mapping[str, Source], workers: int, gathered: Gathered) -> Iterator[Dropped]:
    """Yield the dropped items and keep the others in `gathered`."""
    seen: Seen = {}
    for name, source in sources.items():
        items = source.read(seen, workers)
        for item in tqdm(items, desc=f"reading {name}", unit="item", leave=False, disable=None):
            if isinstance(item, Dropped):
                gathered.dropped[item.source][item.reason] += 1
                gathered.first_dropped.setdefault(item.source, item)
                yield item
            elif isinstance(item, Copy):
                gathered.copies.append(item)
            elif isinstance(item, Record):
                (gathered.records if item.boxes else gathered.controls).append(item)
            else:
                raise InputError(f"data.source.{name}: read gives a {type(item).__name__}: see Source.read")
    for control in find_displaced(gathered.controls, seen):
        gathered.controls.remove(control)
        dropped = Dropped(control.source, control.image, "duplicate", "normal here, a box on the same pixels elsewhere")
        gathered.dropped[dropped.source][dropped.reason] += 1
        yield dropped


def _check_not_empty(source: Source, gathered: Gathered, dropped_file: Path) -> None:
    kept = {r.source for r in gathered.records}
    first = next(iter(source.roots))
    for name in source.roots:
        if name not in kept and (name == first or name in gathered.dropped):
            counts = gathered.dropped[name].most_common()
            lost = ", ".join(f"{n} {reason}" for reason, n in counts) or "nothing there"
            first = ""
            if item := gathered.first_dropped.get(name):
                detail = item.detail if item.item in item.detail else f"{item.item}: {item.detail}"
                first = f", the first in {gathered.roots[name]}: {make_printable(detail)}"
            raise InputError(f"source {name} gives no record ({lost}){first}: see {dropped_file}")


def print_table(records: Sequence[Record], counts: Mapping[str, Mapping[str, int]]) -> None:
    """One row a source. `counts`: source -> `kept`, `left_out`, `controls` and reasons of dropped items -> number."""
    rows: list[tuple[str, ...]] = [("source", "modality", "kept", *SPLITS, "boxes", "not kept")]
    for name, count in counts.items():
        of_source = [r for r in records if r.source == name]
        splits = Counter(r.split for r in of_source)
        modality = "/".join(sorted({r.modality for r in of_source}))
        boxes = str(sum(len(r.boxes) for r in of_source))
        lost = ", ".join(f"{n} {reason}" for reason, n in count.items() if reason != "kept" and n)
        rows.append((name, modality, str(len(of_source)), *(str(splits[s]) for s in SPLITS), boxes, lost or "0"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [c.rjust(w) if 2 <= k < 7 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())


def draw_sheets(records: Sequence[Record], roots: Mapping[str, Path], folder: Path) -> None:
    """Write `data_<source>.png` for each source; sheets of other sources in the folder are removed."""
    sources = list(dict.fromkeys(r.source for r in records))
    for sheet in folder.glob("data_*.png"):
        if sheet.stem.removeprefix("data_") not in sources:
            sheet.unlink()
    for source in sources:
        _draw_sheet([r for r in records if r.source == source], roots, folder / f"data_{source}.png")


def _draw_sheet(records: Sequence[Record], roots: Mapping[str, Path], path: Path) -> None:
    """Pictures evenly spread over the records of one source, with their boxes."""
    shown = [records[k * len(records) // SHOWN] for k in range(SHOWN)] if len(records) > SHOWN else list(records)
    source = records[0].source
    note = " (synthetic)" if source.startswith(SYNTHETIC) else ""
    images = []
    for record in shown:
        picture = picture_of(record, roots)
        picture.thumbnail((CELL, CELL))  # before drawing, which keeps the outline's width
        images.append(draw_boxes(picture, record.boxes, "yellow"))
    path.parent.mkdir(parents=True, exist_ok=True)
    title = f"{source}{note}: {len(shown)} of {len(records)} records"
    contact_sheet(images, [f"{r.category} ({r.split})" for r in shown], title, cell=CELL).save(path)
