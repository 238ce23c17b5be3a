"""Rows of a `datasets` id, or of a local folder in its format: the same questions without the released files."""

import hashlib
import io
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image

from umed.errors import InputError
from umed.pictures import UNREADABLE, rgb

CANNOT = (OSError, ValueError, RuntimeError, KeyError)  # what `datasets` raises of a hub that it cannot read


@dataclass(frozen=True, slots=True)
class HubRows:
    """One split: its rows without pictures, their SHA-256, a name for the picture of each row, a row of each name."""

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
        try:
            with Image.open(io.BytesIO(_bytes(self.pictures[number]))) as picture:
                picture.load()
                return rgb(picture)
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
    import datasets  # takes a second, and a local folder does without it

    try:
        found = datasets.load_dataset(hub, split=split)
    except CANNOT as error:
        raise InputError(_told(name, hub, error)) from None
    if "image" not in found.column_names:
        raise InputError(
            f"data.benchmark.{name}.hub={hub}: no column image: download the files and set data.benchmark.{name}.root"
        )
    pictures = found.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))["image"]
    rows = [dict(row) for row in found.remove_columns(["image"])]
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str).encode())
    images = [f"sha256/{hashlib.sha256(_bytes(picture)).hexdigest()[:16]}" for picture in pictures]
    return HubRows(hub, split, rows, digest.hexdigest(), images, {name: n for n, name in enumerate(images)}, pictures)


@cache
def hub_splits(name: str, hub: str) -> tuple[str, ...]:
    """The names of the splits.

    Raises:
        InputError: they cannot be loaded.
    """
    import datasets

    try:
        return tuple(datasets.get_dataset_split_names(hub))
    except CANNOT as error:
        raise InputError(_told(name, hub, error)) from None


def _told(name: str, hub: str, error: BaseException) -> str:
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return (
        f"data.benchmark.{name}.hub={hub}: it cannot be loaded ({first}): is the network there? Else download the "
        f"files as released and set data.benchmark.{name}.root"
    )


def _bytes(picture: dict[str, Any] | None) -> bytes:
    if picture is None:
        return b""
    if picture.get("bytes") is not None:
        return picture["bytes"]
    with open(picture["path"], "rb") as file:
        return file.read()
