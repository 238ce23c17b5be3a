"""Records as a data set for the `datasets` library: parquet shards with the pictures in them, and a data card."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Features, Image, List, Value
from datasets.arrow_writer import ParquetWriter
from tqdm import tqdm

from umed.data.card import render_card, render_head
from umed.data.files import Unusable, check_inside
from umed.data.splits import SPLITS
from umed.dicom import is_dicom
from umed.errors import InputError
from umed.records import Record

SHARD = 500 * 2**20  # bytes of pictures in a file
ROWS, ROOM = 64, 32 * 2**20  # a row group ends after so many records or bytes: that much is held in memory
TEXTS = ("id", "source", "modality", "group", "official_split", "query", "diagnosis")


def build_features(records: Sequence[Record]) -> Features:
    """The columns; `boxes` are float xyxy pixels of the stored image, `provenance` is JSON."""
    return Features(
        {
            "image": Image(),
            "width": Value("int32"),
            "height": Value("int32"),
            "boxes": List(List(Value("float64"), length=4)),
            "category": ClassLabel(names=sorted({r.category for r in records})),
            **{name: Value("string") for name in TEXTS},
            "provenance": Value("string"),
        }
    )


def export(records: Sequence[Record], roots: Mapping[str, Path], folder: Path) -> list[Path]:
    """Write shards (returned) and `README.md`, or nothing. Raises InputError: folder there, no split, no picture."""
    if folder.exists():
        raise InputError(f"{folder} is there already: remove it or give a new hydra.run.dir")
    without = [r.id for r in records if r.split not in SPLITS]
    if without or not records:
        first = f", first {without[0]}" if without else ""
        raise InputError(f"{len(without)} of {len(records)} records have no split{first}: make them with task=prepare")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "data").mkdir(parents=True)
    try:
        _write(records, roots, part / "data")
        (part / "README.md").write_text(render_head(records) + "\n" + render_card(records), encoding="utf-8")
        part.replace(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return sorted((folder / "data").glob("*.parquet"))


def _write(records: Sequence[Record], roots: Mapping[str, Path], folder: Path) -> None:
    features = build_features(records)
    with tqdm(total=len(records), desc="exporting", unit="record", leave=False, disable=None) as bar:
        for split in SPLITS:
            shards = list(_split_shards([r for r in records if r.split == split], roots))
            for number, shard in enumerate(shards):
                path = folder / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
                with ParquetWriter(features=features, path=str(path), writer_batch_size=ROWS) as writer:
                    held = 0
                    for record in shard:
                        row = _encode(record, find_picture(record, roots))
                        writer.write(features.encode_example(row))
                        held += len(row["image"]["bytes"])
                        if held > ROOM:
                            writer.write_examples_on_file()
                            held = 0
                        bar.update()
                    writer.finalize()


def _split_shards(records: Sequence[Record], roots: Mapping[str, Path]) -> Iterator[list[Record]]:
    """The records in their order, cut where a shard is full."""
    shard: list[Record] = []
    size = 0
    for record in records:
        picture_size = find_picture(record, roots).stat().st_size
        if shard and size + picture_size > SHARD:
            yield shard
            shard, size = [], 0
        shard.append(record)
        size += picture_size
    if shard:
        yield shard


def find_picture(record: Record, roots: Mapping[str, Path]) -> Path:
    """Where the record's picture lies. Raises InputError: nowhere, or outside the root of its source."""
    root = Path(roots[record.source])
    try:
        check_inside(root, record.image)
    except Unusable as error:
        raise InputError(f"{record.id}: {error}") from None
    path = root / record.image
    if not path.is_file():
        raise InputError(f"{record.id}: no picture {path}: check the path and the root of its source")
    return path


def _encode(record: Record, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    if is_dicom(content, path):
        raise InputError(
            f"{path}: a DICOM file may name its patient and `datasets` cannot show it: store PNG files and prepare anew"
        )
    return {
        "image": {"bytes": content, "path": record.image},
        "width": record.width,
        "height": record.height,
        "boxes": [list(b.to_xyxy(record.width, record.height)) for b in record.boxes],
        "category": record.category,
        **{name: getattr(record, name) for name in TEXTS},
        "provenance": json.dumps(record.provenance, ensure_ascii=False),
    }
