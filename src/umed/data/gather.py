"""Everything that the sources of a run give: records, controls, copies, and what was dropped."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import getattr_static
from pathlib import Path
from typing import Any

from hydra.utils import get_object, instantiate
from tqdm import tqdm

from umed.data.sources.base import Copy, Seen, Source
from umed.data.splits import assign_splits
from umed.errors import InputError
from umed.records import Dropped, Record
from umed.run_files import write_jsonl


@dataclass
class Gathered:
    """What the sources gave, in their order; `dropped` counts source -> reason -> items."""

    roots: dict[str, Path]
    records: list[Record] = field(default_factory=list)
    controls: list[Record] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    dropped: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def build_sources(nodes: Mapping[str, Any]) -> dict[str, Source]:
    """The sources of `cfg.data.source`. Raises InputError: none, or one that lacks what `Source` asks for."""
    if not nodes:
        raise InputError("data/source is empty: choose sources, as in 'data/source=[phantom]'")
    sources = {}
    for name, node in nodes.items():
        if "_target_" not in node:
            raise InputError(f"data.source.{name}: no _target_: give the class of the source")
        if missing := sorted(getattr(get_object(node._target_), "__abstractmethods__", ())):
            raise InputError(f"data.source.{name}: {node._target_} lacks {', '.join(missing)}: see PictureSource")
        sources[str(name)] = instantiate(node)
    return sources


def gather(sources: Mapping[str, Source], workers: int, dropped_file: Path) -> Gathered:
    """Read all sources; what is dropped is written to `dropped_file` as it comes.

    Raises InputError: a source that is none, gives no record or has the name of another; an id that occurs twice.
    """
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


def split_controls(controls: Sequence[Record], records: Sequence[Record], split: Mapping[str, Any]) -> list[Record]:
    """The controls in the split of their group; groups without a record are split among themselves."""
    split_of = {(r.source, r.group): r.split for r in assign_splits(controls, split["fractions"], split["seed"])}
    of_records = {(r.source.removesuffix("_controls"), r.group): r.split for r in records}
    return [
        replace(r, split=of_records.get((r.source.removesuffix("_controls"), r.group)) or split_of[r.source, r.group])
        for r in controls
    ]


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
                yield item
            elif isinstance(item, Copy):
                gathered.copies.append(item)
            elif isinstance(item, Record):
                (gathered.records if item.boxes else gathered.controls).append(item)
            else:
                raise InputError(f"data.source.{name}: read gives a {type(item).__name__}: see Source.read")


def _check_not_empty(source: Source, gathered: Gathered, dropped_file: Path) -> None:
    kept = {r.source for r in gathered.records}
    first = next(iter(source.roots))
    for name in source.roots:
        if name not in kept and (name == first or name in gathered.dropped):
            counts = gathered.dropped[name].most_common()
            lost = ", ".join(f"{n} {reason}" for reason, n in counts) or "nothing there"
            raise InputError(f"source {name} gives no record ({lost}): see {dropped_file}")
