"""`exported`: what `task=export` wrote, read back with its splits and texts; nothing in it is trusted."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import ClassLabel, Features
from pyarrow import ArrowException

from umed.data.files import Unusable
from umed.data.formats import SPLIT_WORDS
from umed.data.inspect_picture import PictureFacts, inspect_picture
from umed.data.sources.seen import Seen, find_twin
from umed.data.splits import SPLITS
from umed.errors import InputError
from umed.records import Dropped, Record

COLUMNS = (
    *("image", "id", "source", "width", "height", "boxes", "category", "modality", "group", "official_split"),
    *("query", "diagnosis", "provenance"),
)
ROWS = 16  # read at a time
_NAME = re.compile(r"\w[\w .+-]{0,99}")  # of a source, which becomes part of file names
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")
BROKEN = (OSError, ValueError, TypeError, KeyError, AttributeError, ArrowException)


class ExportedSource:
    """Reads the shards and writes each picture into `unpacked`, named by the hash of its bytes.

    `root`: folder with `data/<split>-*.parquet` or `data/<split>.parquet`; `validation` is `val`. `unpacked`: folder
    for the pictures; several exports can share it.
    """

    def __init__(self, root: str, unpacked: str) -> None:
        self.root, self.unpacked = Path(root), Path(unpacked)

    @cached_property
    def roots(self) -> dict[str, Path]:
        """The sources, all with one folder. Raises InputError: no export, or a source's name that no file can have."""
        names = set()
        for path, _ in self._list_shards():
            for batch in _read_batches(path, ["source"]):
                names |= {str(row["source"]) for row in batch}
        wrong = sorted(name for name in names if not _NAME.fullmatch(name))
        if wrong:
            raise InputError(f"{self.root}: {wrong[0]!r} is no name of a source: letters, digits, _ . + - are expected")
        return {name: self.unpacked for name in sorted(names)}

    def read(self, seen: Seen, workers: int = 1) -> Iterator[Record | Dropped]:
        """Records with their exported splits; see `Source.read`. Raises InputError: no export, or a changed picture."""
        roots = self.roots
        facts: dict[str, PictureFacts | Dropped] = {}  # by name of the picture: records of several categories share one
        with ThreadPoolExecutor(workers) as pool:
            for path, split in self._list_shards():
                names = _read_categories(path)
                for batch in _read_batches(path, list(COLUMNS)):
                    items = [_parse_row(row, split, names, roots) for row in batch]
                    new = {
                        item.image: (item, row["image"]["bytes"])
                        for item, row in zip(items, batch, strict=True)
                        if isinstance(item, Record) and item.image not in facts
                    }
                    for name, found in zip(new, pool.map(self._unpack, new.values()), strict=True):
                        facts[name] = _drop_if_seen(found, new[name][0], seen)
                    yield from (_check_size(r, facts[r.image]) if isinstance(r, Record) else r for r in items)

    def _unpack(self, item: tuple[Record, bytes]) -> PictureFacts | Dropped:
        """Write the picture unless it is there, and inspect it."""
        record, content = item
        path = self.unpacked / record.image
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(".part", dir=path.parent)
            try:
                with open(handle, "wb") as f:
                    f.write(content)
                os.chmod(part, 0o644)
                os.replace(part, path)
            except BaseException:
                os.unlink(part)
                raise
        try:
            facts = inspect_picture(self.unpacked, record.image, record.window)
        except Unusable as error:  # not returned: its traceback would keep the picture in memory
            return Dropped(record.source, record.id, error.reason, str(error))
        if facts.sha256 != path.stem:
            raise InputError(f"{path} is not the picture that was unpacked there: remove it")
        return facts

    def _list_shards(self) -> list[tuple[Path, str]]:
        """The shards in the order of the splits, each with its split."""
        words = [(path, re.split("[-.]", path.name)[0]) for path in sorted(self.root.glob("data/*.parquet"))]
        shards = [(path, SPLIT_WORDS[word]) for path, word in words if word in (*SPLITS, "validation")]
        wrong = [path for path, word in words if word not in (*SPLITS, "validation")]
        if not words or wrong:
            problem = f"{wrong[0].name} names no split" if wrong else "nothing there"
            raise InputError(f"{self.root}/data: train, val or test[-*].parquet are expected, {problem}: set its root")
        return sorted(shards, key=lambda shard: SPLITS.index(shard[1]))


def _read_batches(path: Path, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                raise InputError(f"{path}: no column {missing[0]}: files that task=export wrote are expected")
            for number in range(file.num_row_groups):  # one by one: iterating over all keeps them in memory
                for batch in file.iter_batches(ROWS, [number], columns):
                    yield batch.to_pylist()
    except BROKEN as error:
        raise InputError(f"{path}: no readable parquet file ({error}): copy the export anew") from None


def _read_categories(path: Path) -> list[str]:
    """The names that the numbers of `category` stand for."""
    try:
        category = Features.from_arrow_schema(pq.read_schema(path))["category"]
    except BROKEN as error:
        raise InputError(f"{path}: no readable parquet file ({error}): copy the export anew") from None
    if not isinstance(category, ClassLabel) or not category.names:
        raise InputError(f"{path}: the column category has no names: files that task=export wrote are expected")
    return [str(name) for name in category.names]


def _parse_row(row: dict[str, Any], split: str, names: list[str], roots: dict[str, Path]) -> Record | Dropped:
    """The record of a row, its picture named by its hash."""
    try:
        content, stored = row["image"]["bytes"], str(row["image"]["path"])
        if not content:
            raise ValueError("the picture itself is not in the file")
        suffix = Path(stored).suffix.lower()
        digest = hashlib.sha256(content).hexdigest()
        image = f"{digest[:2]}/{digest}{suffix if _SUFFIX.fullmatch(suffix) else ''}"
        if not 0 <= row["category"] < len(names):
            raise ValueError(f"category {row['category']} has no name")
        filled = {"category": names[row["category"]], "provenance": json.loads(row["provenance"])}
        return Record.from_json({**row, **filled, "image": image, "split": split})
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        source = row["source"] if row["source"] in roots else next(iter(roots))
        return Dropped(source, str(row["id"]), "malformed", f"not a record ({error})")


def _drop_if_seen(facts: PictureFacts | Dropped, record: Record, seen: Seen) -> PictureFacts | Dropped:
    if isinstance(facts, Dropped):
        return facts
    if twin := find_twin(seen, facts.pixels, not record.boxes):
        return Dropped(record.source, record.id, "duplicate", f"same pixels as {twin[1]} of {twin[0]}")
    seen[facts.pixels] = record.source, record.image, not record.boxes
    return facts


def _check_size(record: Record, facts: PictureFacts | Dropped) -> Record | Dropped:
    """The record, unless its picture was dropped, has another size, or was turned by its EXIF orientation."""
    if isinstance(facts, Dropped):
        return replace(facts, source=record.source, item=record.id)
    if (facts.width, facts.height) != (record.width, record.height):
        problem = f"{record.width}x{record.height} in the row, the picture is {facts.width}x{facts.height}"
        return Dropped(record.source, record.id, "malformed", problem)
    if facts.views[1] != record.provenance.get("orientation", facts.views[1]):  # `datasets` turns what it writes anew
        return Dropped(record.source, record.id, "malformed", "written anew without its EXIF orientation, maybe turned")
    return record
