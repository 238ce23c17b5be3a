"""`task=prepare`: sources on disk -> records, what was dropped, controls, a manifest, a table and a look at each."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from umed.data.card import data_card
from umed.data.manifest import from_manifest, made_of, write_manifest
from umed.data.sample import subsample
from umed.data.sources.base import Copy, Seen, Source
from umed.data.splits import SPLITS, assign_splits
from umed.errors import InputError, check_positive
from umed.evaluation.files import update_metrics
from umed.pictures import contact_sheet, draw_boxes, picture_of
from umed.records import Dropped, Record, write_jsonl, write_whole

SHOWN, CELL = 12, 320  # pictures of a contact sheet, and their side


def prepare(cfg: DictConfig) -> list[Record]:
    """Read every source of `cfg.data.source` into the run folder."""
    if not cfg.data.source:
        raise InputError("data/source is empty: choose sources, as in 'data/source=[phantom]'")
    sources = {str(name): instantiate(source) for name, source in cfg.data.source.items()}
    return prepare_records(sources, _as_dict(cfg.data.split), Path(cfg.paths.run_dir), **_as_dict(cfg.data.prepare))


def _as_dict(cfg: DictConfig) -> dict[str, Any]:
    """A part of the config as a dict."""
    return {str(k): v for k, v in OmegaConf.to_container(cfg, resolve=True).items()}  # type: ignore[union-attr]


def prepare_records(
    sources: Mapping[str, Source],
    split: Mapping[str, Any],
    out: Path,
    *,
    sample: Mapping[str, Any] | None = None,
    manifest: str | None = None,
    workers: int | None = None,
) -> list[Record]:
    """Read, split, sample, check and write; nothing vanishes: what gives no record is a line of `dropped.jsonl`.

    Args:
        split: arguments of `assign_splits`.
        sample: `total`, `by` and `seed` of `subsample`; taken after the splits, so it changes none.
        manifest: a `manifest.json` that says which records and splits to make, instead of `split` and `sample`.
        workers: threads that open pictures; None = one per core.

    Raises:
        InputError: a source without a record, two sources of one name, an id that occurs twice, another set than the
            manifest's.
    """
    check_positive("data.prepare.workers", workers)
    gathered = _Gathered(sources, workers or os.cpu_count() or 1)
    write_jsonl(out / "dropped.jsonl", (d.to_json() for d in gathered))
    gathered.check(out)
    records, controls = gathered.records, gathered.controls
    if manifest:
        chosen = from_manifest(records, Path(manifest), out / "manifest_differences.jsonl")
        made = made_of(Path(manifest))
    else:
        divided = gathered.divided(split)
        chosen = subsample(divided, **(sample or {"total": None, "by": "natural", "seed": 0}))
        made = {"split": dict(split), "sample": dict(sample or {})}
    names = list(gathered.roots)
    kept, had = Counter(r.source for r in chosen), Counter(r.source for r in records)
    counts = {name: {"kept": kept[name], **gathered.reasons[name]} for name in names if had[name]}
    for name, of in Counter(r.source for r in controls).items():
        counts.setdefault(name, {})["controls"] = of
    for name in names:
        if had[name] > kept[name]:
            counts[name]["left_out"] = had[name] - kept[name]
    _print_table(chosen, counts)
    counted = {f"prepare/{s}/{k}": n for s, c in counts.items() for k, n in c.items()}
    update_metrics(out / "metrics.json", counted, instead_of="prepare/")
    for name in names:
        own = [r for r in chosen if r.source == name]
        if own:
            _draw_sheet(own, gathered.roots, out / "figures" / f"data_{name}.png")
    _forget(out, names)
    if controls:
        write_jsonl(out / "controls.jsonl", (r.to_json() for r in _with_splits(controls, chosen, split)))
    write_manifest(out / "manifest.json", chosen, made)
    write_whole(out / "data_card.md", data_card(chosen))
    write_roots(out, gathered.roots)
    write_jsonl(out / "records.jsonl", (r.to_json() for r in chosen))  # last: what is there is complete
    return chosen


def write_roots(run: Path, roots: Mapping[str, Path]) -> None:
    """Note in `sources.json` where the pictures of each source lie."""
    text = json.dumps({name: str(root) for name, root in roots.items()}, indent=1)
    write_whole(run / "sources.json", text + "\n")


def _forget(out: Path, names: Sequence[str]) -> None:
    """Remove what an earlier preparation of other sources has left in the folder."""
    (out / "controls.jsonl").unlink(missing_ok=True)
    for sheet in (out / "figures").glob("data_*.png"):
        if sheet.stem.removeprefix("data_") not in names:
            sheet.unlink()


class _Gathered:
    """Everything the sources give: iterating yields what is dropped and keeps the rest."""

    def __init__(self, sources: Mapping[str, Source], workers: int) -> None:
        self.sources, self.workers = sources, workers
        self.records: list[Record] = []
        self.controls: list[Record] = []
        self.copies: list[Copy] = []
        self.roots: dict[str, Path] = {}
        self.reasons: dict[str, Counter[str]] = defaultdict(Counter)
        for name, source in sources.items():
            twice = sorted(self.roots.keys() & source.roots.keys())
            if twice:
                raise InputError(f"two sources are called {', '.join(twice)}: set data.source.{name}.name")
            self.roots |= {key: root.resolve() for key, root in source.roots.items()}

    def __iter__(self) -> Iterator[Dropped]:
        seen: Seen = {}
        for name, source in self.sources.items():
            items = source.read(seen, self.workers)
            for item in tqdm(items, desc=f"reading {name}", unit="item", leave=False, disable=None):
                if isinstance(item, Dropped):
                    self.reasons[item.source][item.reason] += 1
                    yield item
                elif isinstance(item, Copy):
                    self.copies.append(item)
                else:
                    (self.records if item.boxes else self.controls).append(item)

    def divided(self, split: Mapping[str, Any]) -> list[Record]:
        """The records with their splits, without those that a study of the unseen leaves out.

        A copy that another source has counts for its own source, so that source's other groups stay where they are;
        its group goes where that of the kept picture is.
        """
        group_of = {(r.source, r.image): r.group for r in [*self.records, *self.controls]}
        links = [
            ((c.first[0], group_of[c.first]), (c.record.source, c.record.group))
            for c in self.copies
            if c.first in group_of
        ]
        ghosts = [c.record for c in self.copies if c.record.boxes and c.record.source != c.first[0]]
        own = {r.id for r in self.records}
        return [r for r in assign_splits([*self.records, *ghosts], **split, links=links) if r.id in own]

    def check(self, out: Path) -> None:
        """Raise InputError for a source that gives no record or an id that occurs twice."""
        kept = Counter(r.source for r in self.records)
        for source in self.sources.values():
            name = next(iter(source.roots))
            empty = [n for n in source.roots if not kept[n] and (n == name or n in self.reasons)]
            if empty:
                why = self.reasons[empty[0]]
                lost = ", ".join(f"{n} {reason}" for reason, n in why.most_common()) or "nothing there"
                raise InputError(f"source {empty[0]} gives no record ({lost}): see {out / 'dropped.jsonl'}")
        [(most, times)] = Counter(r.id for r in [*self.records, *self.controls]).most_common(1)
        if times > 1:
            raise InputError(f"record id {most} occurs {times} times: file names must be unique in a source")


def _with_splits(controls: Sequence[Record], records: Sequence[Record], split: Mapping[str, Any]) -> list[Record]:
    """Controls in the split of their group, or in one of their own."""
    known = {(r.source.removesuffix("_controls"), r.group): r.split for r in records}
    own = {(r.source, r.group): r.split for r in assign_splits(controls, split["fractions"], split["seed"])}
    return [
        replace(r, split=known.get((r.source.removesuffix("_controls"), r.group)) or own[r.source, r.group])
        for r in controls
    ]


def _print_table(records: Sequence[Record], counts: Mapping[str, Mapping[str, int]]) -> None:
    rows: list[tuple[str, ...]] = [("source", "modality", "kept", *SPLITS, "boxes", "not kept")]
    for name, count in counts.items():
        own = [r for r in records if r.source == name]
        splits = Counter(r.split for r in own)
        modality = "/".join(sorted({r.modality for r in own}))
        boxes = str(sum(len(r.boxes) for r in own))
        lost = ", ".join(f"{n} {reason}" for reason, n in count.items() if reason != "kept" and n)
        rows.append((name, modality, str(len(own)), *(str(splits[s]) for s in SPLITS), boxes, lost or "0"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [c.rjust(w) if 2 <= k < 7 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())


def _draw_sheet(records: Sequence[Record], roots: Mapping[str, Path], path: Path) -> None:
    """Pictures evenly spread over a source, with their boxes."""
    chosen = [records[k * len(records) // SHOWN] for k in range(SHOWN)] if len(records) > SHOWN else list(records)
    note = " (synthetic)" if records[0].source.startswith("phantom") else ""
    title = f"{records[0].source}{note}: {len(chosen)} of {len(records)} records"
    images = []
    for record in chosen:
        picture = picture_of(record, roots)
        picture.thumbnail((CELL, CELL))  # first, or the outline would be scaled away
        images.append(draw_boxes(picture, record.boxes, "yellow"))
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(images, [f"{r.category} ({r.split})" for r in chosen], title, cell=CELL).save(path)
