"""Controls, pictures known to be normal: `controls.jsonl`, how they are asked, and those that training takes."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from umed.data.sample import keep_train_share
from umed.data.splits import assign_splits
from umed.errors import InputError
from umed.records import NORMAL, Record, RecordSet, add_text, read_records
from umed.run_files import write_jsonl

FILE = "controls.jsonl"
SUFFIX = "_controls"  # ends the name of a source that has only the controls of another one
SHARE = 0.15  # of the pictures, where data.controls is null and there are controls
DIAGNOSIS = "The image is normal. There is no abnormality."  # what a model learns to answer


def check_share(share: Any) -> None:
    """Refuse a `data.controls` that is no share; None is `SHARE` where there are controls."""
    if share is None:
        return
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise InputError(
            f"data.controls={share}: a share of at least 0 and below 1 is expected, as 0.1; 0 takes no control"
        )


def find_controls(cfg: DictConfig) -> Path | None:
    """`controls.jsonl` of the run, or the one beside the given records; None where there is no such file."""
    folders = [Path(cfg.paths.run_dir), *([Path(cfg.records).parent] if cfg.records else [])]
    return next((f / FILE for f in folders if (f / FILE).is_file()), None)


def read_controls(path: Path | None, roots: Mapping[str, Path]) -> list[Record]:
    """The controls of all splits; none without a file. Raises InputError: the folder of their pictures is not known."""
    controls = read_records(path, controls=True) if path else []
    if lost := sorted({c.source for c in controls} - roots.keys()):
        raise InputError(f"{path}: no folder is known for {', '.join(lost)}: keep sources.json beside it or remove it")
    return controls


def name_source(control: Record, sources: Container[str]) -> str:
    """The source as which a picture is asked: its own, or `x` for the controls of `x_controls`."""
    return control.source if control.source in sources else control.source.removesuffix(SUFFIX)


def ask_controls(controls: Iterable[Record], records: Iterable[Record]) -> Iterator[tuple[str, Record]]:
    """Controls with a query of the records of their source, and that source; the queries take turns.

    A control whose source has no record is left out.
    """
    queries: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        queries[record.source][record.query] = None
    for number, control in enumerate(controls):
        source = name_source(control, queries)
        if of_source := list(queries.get(source, ())):
            yield source, replace(control, query=of_source[number % len(of_source)])


def split_controls(controls: Sequence[Record], records: Sequence[Record], split: Mapping[str, Any]) -> list[Record]:
    """The controls in the split of their group; groups without a record are split among themselves."""
    split_of = {(r.source, r.group): r.split for r in assign_splits(controls, split["fractions"], split["seed"])}
    of_records = {(r.source.removesuffix(SUFFIX), r.group): r.split for r in records}
    return [
        replace(r, split=of_records.get((r.source.removesuffix(SUFFIX), r.group)) or split_of[r.source, r.group])
        for r in controls
    ]


def add_controls(cfg: DictConfig, data: RecordSet) -> RecordSet:
    """The data with `data.controls` of the train and validation pictures as controls, which join `records.jsonl`.

    Raises:
        InputError: no share; no control to train on, or one whose folder is not known.
    """
    check_share(cfg.data.controls)
    chosen = [] if cfg.data.controls == 0 else choose_controls(cfg, data)
    file = Path(cfg.paths.run_dir) / "records.jsonl"
    if chosen or (file.is_file() and not all(r.boxes for r in read_records(file))):  # of a run that was given up
        write_records(file, None, chosen)
    return replace(data, records=[*data.records, *chosen]) if chosen else data


def choose_controls(cfg: DictConfig, data: RecordSet) -> list[Record]:
    """Controls as records to train and validate on. Raises InputError: as `add_controls`."""
    given, path = cfg.data.controls, find_controls(cfg)
    share = SHARE if given is None else given
    controls = _leave_other_splits(read_controls(path, data.roots), data.records)
    trained = keep_train_share(data.records, cfg.data.fraction, cfg.data.split.seed)
    chosen: list[Record] = []
    few: list[str] = []
    for split in ("train", "val"):
        records = [r for r in trained if r.split == split]
        there = [c for _, c in ask_controls([c for c in controls if c.split == split], records)]
        if split == "train" and not there:
            if given is None:
                return []
            raise InputError(
                f"data.controls={share}: {path or f'no {FILE} beside the records, so it'} has no normal picture of a "
                "source that is trained on: add a source that has some, as tbx11k, or set data.controls=0"
            )
        if given is None:
            there = _keep_few(there, records, cfg.data.split.seed)
        wanted = count_controls(records, share)
        if wanted > len(there):
            few.append(f"{len(there)} of the {wanted} {split} controls that this takes")
        chosen += [make_record(c) for c in draw_controls(there, wanted, cfg.data.split.seed)]
    if given is None:
        counts = Counter(c.source.removesuffix(SUFFIX) for c in chosen if c.split == "train")
        numbers = ", ".join(f"{count} of {source}" for source, count in sorted(counts.items()))
        print(f"normal pictures among those trained on: {numbers}; data.controls=0 takes none")
    elif few:
        print(f"data.controls={share}: {path} has {' and '.join(few)}: all are used")
    return chosen


def _keep_few(controls: Sequence[Record], records: Sequence[Record], seed: int) -> list[Record]:
    """Of each source at most half as many as it has pictures with boxes, so that no source stands for normal."""
    sources = {r.source for r in records}
    kept: set[str] = set()
    for source in sources:
        pictures = len({r.image for r in records if r.source == source})
        own = [c for c in controls if name_source(c, sources) == source]
        kept |= {c.id for c in draw_controls(own, max(1, pictures // 2), seed)}
    return [c for c in controls if c.id in kept]


def count_controls(records: Sequence[Record], share: float) -> int:
    """How many controls are `share` of all pictures, those of the records included; at least one."""
    pictures = len({(r.source, r.image) for r in records})
    return max(1, round(share * pictures / (1 - share))) if pictures else 0


def draw_controls(controls: Sequence[Record], count: int, seed: int) -> list[Record]:
    """So many controls, by a hash of (seed, id), in their order; fewer are among more."""
    ranked = sorted(controls, key=lambda c: hashlib.sha256(f"{seed}\0{c.id}".encode()).digest())
    drawn = {c.id for c in ranked[:count]}
    return [c for c in controls if c.id in drawn]


def make_record(control: Record) -> Record:
    """A control as a record to train on."""
    return add_text(replace(control, category=NORMAL), control.query, DIAGNOSIS, annotator="controls")


def write_records(path: Path, records: Sequence[Record] | None, controls: Sequence[Record] | None = None) -> None:
    """Write `records.jsonl`, the controls behind the others; None = those that the file holds."""
    old = read_records(path) if path.is_file() and (records is None or controls is None) else []
    first = [r for r in old if r.boxes] if records is None else records
    last = [r for r in old if not r.boxes] if controls is None else controls
    write_jsonl(path, (r.to_json() for r in (*first, *last)))


def _leave_other_splits(controls: Sequence[Record], records: Sequence[Record]) -> list[Record]:
    """The controls without patients whose records are in another split: a study of the unseen moves records."""
    split_of = {(r.source, r.group): r.split for r in records}
    sources = {r.source for r in records}
    return [c for c in controls if split_of.get((name_source(c, sources), c.group), c.split) == c.split]
