"""Every record that a training would read, checked before its first step; pixels are not decoded."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from umed import dicom
from umed.errors import InputError
from umed.pictures import UNREADABLE, is_deep
from umed.records import Record

NAMED = 20  # records in the message
PATIENCE = 2  # seconds until a progress bar is shown


def check_records(
    records: Sequence[Record], roots: Mapping[str, Path], lengths: Callable[[Record], tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Check pictures by their headers, then prompts, answers and boxes.

    Args:
        lengths: tokens of a record's prompt and of its answer, see `models/lengths.py`.

    Returns:
        The lengths by the record's id.

    Raises:
        InputError: naming every record that could not be trained on, and why the first could not.
    """
    wrong: dict[str, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for record in tqdm(records, desc="checking records", unit="record", delay=PATIENCE, leave=False, disable=None):
        try:
            check_picture(record, roots)
            sizes[record.id] = lengths(record)
        except InputError as error:
            wrong[record.id] = str(error)
    if wrong:
        first, *others = wrong
        reason = wrong[first] if first in wrong[first] else f"{first}: {wrong[first]}"
        more = f", and {len(others) - NAMED} more" if len(others) > NAMED else ""
        named = f"; also {', '.join(others[:NAMED])}{more}" if others else ""
        raise InputError(
            f"{len(wrong)} of {len(records)} records cannot be trained on, so nothing was: {reason}{named}"
        )
    return sizes


def check_picture(record: Record, roots: Mapping[str, Path]) -> None:
    """Refuse a record whose picture is missing, is none, or has another size than the record, by the file's header.

    Raises:
        InputError: naming the file.
    """
    if record.source not in roots:
        raise InputError(f"{record.id}: no folder is known for the pictures of {record.source}: see sources.json")
    path = Path(roots[record.source]) / record.image
    try:
        with path.open("rb") as file:
            size, deep = read_header(file, path)
    except FileNotFoundError:
        raise InputError(f"no picture {path}: check the path and the root of its source") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable picture ({error}): replace or remove it") from None
    if size != (record.width, record.height):
        raise InputError(
            f"{path} has {size[0]} x {size[1]} pixels, its record {record.width} x {record.height}: write the records "
            "anew with task=prepare"
        )
    if deep and record.window is None:
        raise InputError(f"{path} has more than 8 bits a pixel and its record no window: write it with task=prepare")


def read_header(file: BinaryIO, path: Path) -> tuple[tuple[int, int], bool]:
    """Width and height of a picture, and whether a window must say which of its values are shown.

    Raises:
        UNREADABLE: no picture.
    """
    start = file.read(132)
    file.seek(0)
    if not dicom.is_dicom(start):
        try:
            with Image.open(file) as picture:
                return picture.size, is_deep(picture)
        except UnidentifiedImageError:  # its message names an object in memory
            if not dicom.is_dicom(start, path):
                raise ValueError("not a picture") from None
            file.seek(0)
    return dicom.read_size(file), False  # such a file has a window of its own
