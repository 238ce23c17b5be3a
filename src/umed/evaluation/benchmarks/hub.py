"""Rows of a `datasets` id, or of a local folder in its format: the same questions without the released files."""

import hashlib
import io
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image

from umed.errors import InputError
from umed.pictures import UNREADABLE, convert_to_rgb, read_stored


@dataclass(frozen=True, slots=True)
class HubRows:
    """One split: its rows without pictures, the SHA-256 of rows and pictures, a name for the picture of each row, a row
    of each name.
    """

    hub: str
    split: str
    rows: list[dict[str, Any]]
    sha256: str
    images: list[str]
    row_of: dict[str, int]
    pictures: Any

    def picture(self, image: str) -> Image.Image:
        """The picture of that name, RGB."""
        number = self.row_of[image]
        content = _bytes(self.pictures[number])
        if not content:
            raise InputError(f"{self.hub}, {self.split}, row {number}: it has no picture")
        try:
            return convert_to_rgb(read_stored(io.BytesIO(content), Path(image)), None)
        except UNREADABLE as error:
            raise InputError(f"{self.hub}, {self.split}, row {number}: not a readable picture ({error})") from None


@cache
def hub_rows(name: str, hub: str, split: str) -> HubRows:
    """Read a split.

    Args:
        name: of the benchmark in the config, for messages.

    Raises:
        InputError: it cannot be loaded, or has no pictures.
    """
    found = _loaded(name, hub, lambda datasets: datasets.load_dataset(hub, split=split))
    if "image" not in found.column_names:
        raise InputError(
            f"data.benchmark.{name}.hub={hub}: no column image: download the files and set data.benchmark.{name}.root"
        )
    undecoded = partial(found.select_columns(["image"]).cast_column, "image")
    pictures = _loaded(name, hub, lambda datasets: undecoded(datasets.Image(decode=False))["image"])
    rows = [dict(row) for row in found.remove_columns(["image"])]
    try:
        images = [f"sha256/{hashlib.sha256(_bytes(picture)).hexdigest()[:16]}" for picture in pictures]
    except OSError as error:
        raise InputError(f"{hub}, {split}: a picture cannot be read ({error}): take the folder as released") from None
    digest = hashlib.sha256()
    for row, image in zip(rows, images, strict=True):
        digest.update(json.dumps([row, image], sort_keys=True, default=str).encode())
    return HubRows(hub, split, rows, digest.hexdigest(), images, {name: n for n, name in enumerate(images)}, pictures)


@cache
def hub_splits(name: str, hub: str) -> tuple[str, ...]:
    """The names of the splits.

    Raises:
        InputError: they cannot be loaded.
    """
    return _loaded(name, hub, lambda datasets: tuple(datasets.get_dataset_split_names(hub)))


def _loaded(name: str, hub: str, load: Callable[[Any], Any]) -> Any:
    """What `load` takes from the package `datasets`, which is quiet: its errors come as one line of ours."""
    import datasets  # takes a second, and files as released do without it

    datasets.utils.logging.set_verbosity(logging.CRITICAL)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        return load(datasets)
    except (OSError, ValueError, RuntimeError, KeyError, datasets.exceptions.DatasetsError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        why = "is it complete" if Path(hub).exists() else "is the network there"
        raise InputError(
            f"data.benchmark.{name}.hub={hub}: it cannot be loaded ({first}): {why}? Else download the files as "
            f"released and set data.benchmark.{name}.root"
        ) from None


def _bytes(picture: dict[str, Any] | None) -> bytes:
    if picture is None:
        return b""
    if picture.get("bytes") is not None:
        return picture["bytes"]
    with open(picture["path"], "rb") as file:
        return file.read()
