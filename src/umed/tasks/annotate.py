"""`task=annotate`: records -> records with query and diagnosis."""

import json
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from umed.errors import InputError
from umed.records import read_records, write_jsonl, write_whole
from umed.tasks.fit import Data
from umed.tasks.prepare import prepare


def annotate(cfg: DictConfig) -> None:
    """Annotate the records and write them back to the run's `records.jsonl`."""
    data = annotated(cfg)
    print(f"{len(data.records)} records with query and diagnosis -> {Path(cfg.paths.run_dir) / 'records.jsonl'}")


def prepared(cfg: DictConfig) -> Data:
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
    return Data(records, roots)


def annotated(cfg: DictConfig) -> Data:
    """The same with query and diagnosis, written to the run folder."""
    data, run = prepared(cfg), Path(cfg.paths.run_dir)
    records = data.records
    if not all(r.diagnosis for r in records):
        records = instantiate(cfg.annotator).annotate(records)
    roots = json.dumps({name: str(root) for name, root in data.roots.items()}, indent=1)
    write_whole(run / "sources.json", roots + "\n")
    write_jsonl(run / "records.jsonl", (r.to_json() for r in records))
    return Data(records, data.roots)


def roots_of(cfg: DictConfig, beside: Path) -> dict[str, Path]:
    """Picture folders: those noted beside the records, then those of the configured sources."""
    note = beside / "sources.json"
    noted = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    roots = {name: Path(root) for name, root in noted.items() if Path(root).is_dir()}
    if roots.keys() < noted.keys() or not noted:  # moved, or never noted
        for source in cfg.data.source.values():
            roots = {**instantiate(source).roots, **roots}
    return roots
