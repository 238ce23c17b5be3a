"""`task=export`: records and their pictures -> parquet files for the `datasets` library, with a data card."""

from pathlib import Path

from omegaconf import DictConfig

from umed.annotate.stage import load_or_prepare
from umed.data.card import WARNING, list_restricted
from umed.data.export import export as write_export


def export(cfg: DictConfig) -> None:
    """Write `export/` in the run folder; `data/source=[exported]` reads it."""
    data = load_or_prepare(cfg)
    folder = Path(cfg.paths.run_dir) / "export"
    files = write_export(data.records, data.roots, folder)
    size = sum(f.stat().st_size for f in files) / 2**20
    print(f"{len(data.records)} records, {len(files)} parquet files, {size:.1f} MiB -> {folder}")
    if restricted := list_restricted(data.records):
        print(f"{', '.join(restricted)}: {WARNING}, see {folder / 'README.md'}")
