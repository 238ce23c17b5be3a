"""`task=prepare`: sources on disk -> `records.jsonl`, `dropped.jsonl`, `sources.json`, a table and a look at each."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig
from tqdm import tqdm

from umed.data.sources.base import Source
from umed.data.splits import SPLITS, assign_splits
from umed.errors import InputError
from umed.metrics.files import update_metrics
from umed.pictures import contact_sheet, draw_boxes, open_picture
from umed.records import Dropped, Record, write_jsonl, write_whole

SHOWN = 12


def prepare(cfg: DictConfig) -> list[Record]:
    """Read every source of `cfg.data.source` into the run folder."""
    if not cfg.data.source:
        raise InputError("data/source is empty: choose sources, as in 'data/source=[phantom]'")
    sources = {str(name): instantiate(source) for name, source in cfg.data.source.items()}
    return prepare_records(sources, cfg.data.split.fractions, cfg.data.split.seed, Path(cfg.paths.run_dir))


def prepare_records(sources: Mapping[str, Source], fractions: Sequence[float], seed: int, out: Path) -> list[Record]:
    """Read, split, check and write; nothing vanishes: what gives no record is a line of `dropped.jsonl`.

    Raises:
        InputError: a source without a record, two sources of one name, an id that occurs twice.
    """
    records: list[Record] = []
    dropped: list[Dropped] = []
    roots: dict[str, Path] = {}
    for name, source in sources.items():
        twice = sorted(roots.keys() & source.roots.keys())
        if twice:
            raise InputError(f"two sources are called {', '.join(twice)}: set data.source.{name}.name")
        roots |= {key: root.resolve() for key, root in source.roots.items()}
        for item in tqdm(source.read(), desc=f"reading {name}", unit="item", leave=False, disable=None):
            if isinstance(item, Record):
                records.append(item)
            else:
                dropped.append(item)
    write_jsonl(out / "dropped.jsonl", (d.to_json() for d in dropped))
    reasons = {name: Counter(d.reason for d in dropped if d.source == name) for name in roots}
    _check(records, reasons, out)
    records = assign_splits(records, fractions, seed)
    kept = Counter(r.source for r in records)
    counts = {name: {"kept": kept[name], **reasons[name]} for name in roots}
    update_metrics(out / "metrics.json", {f"prepare/{s}/{k}": n for s, c in counts.items() for k, n in c.items()})
    _print_table(records, reasons)
    for name, root in roots.items():
        _draw_sheet([r for r in records if r.source == name], root, out / "figures" / f"data_{name}.png")
    write_whole(out / "sources.json", json.dumps({name: str(root) for name, root in roots.items()}, indent=1) + "\n")
    write_jsonl(out / "records.jsonl", (r.to_json() for r in records))  # last: what is there is complete
    return records


def _check(records: Sequence[Record], reasons: Mapping[str, Counter[str]], out: Path) -> None:
    kept = Counter(r.source for r in records)
    for name, why in reasons.items():
        if not kept[name]:
            lost = ", ".join(f"{n} {reason}" for reason, n in why.most_common()) or "nothing there"
            raise InputError(f"source {name} gives no record ({lost}): see {out / 'dropped.jsonl'}")
    [(most, times)] = Counter(r.id for r in records).most_common(1)
    if times > 1:
        raise InputError(f"record id {most} occurs {times} times: file names must be unique in a source")


def _print_table(records: Sequence[Record], reasons: Mapping[str, Counter[str]]) -> None:
    rows: list[tuple[str, ...]] = [("source", "modality", "kept", *SPLITS, "dropped")]
    for name, why in reasons.items():
        own = [r for r in records if r.source == name]
        splits = Counter(r.split for r in own)
        lost = ", ".join(f"{n} {reason}" for reason, n in why.most_common())
        modality = "/".join(sorted({r.modality for r in own}))
        rows.append((name, modality, str(len(own)), *(str(splits[s]) for s in SPLITS), lost or "0"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [c.rjust(w) if 2 <= k < 6 else c.ljust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())


def _draw_sheet(records: Sequence[Record], root: Path, path: Path) -> None:
    """Pictures evenly spread over a source, with their boxes."""
    chosen = [records[k * len(records) // SHOWN] for k in range(SHOWN)] if len(records) > SHOWN else list(records)
    note = " (synthetic)" if records[0].source.startswith("phantom") else ""
    title = f"{records[0].source}{note}: {len(chosen)} of {len(records)} records"
    images = [draw_boxes(open_picture(root / r.image), r.boxes, "yellow") for r in chosen]
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(images, [f"{r.category} ({r.split})" for r in chosen], title).save(path)
