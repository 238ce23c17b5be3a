"""What an annotator is: a record in, its query and diagnosis out."""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from umed.errors import InputError
from umed.records import Record


class Annotator(Protocol):
    """Writes `query` and `diagnosis`, with `<region>` where the boxes stand, and its `name` into `provenance`."""

    name: str

    def annotate(self, records: Iterable[Record], roots: Mapping[str, Path]) -> list[Record]:
        """The records in their order; one that fails has no diagnosis. `roots`: each source's folder of pictures."""


class Stopped(InputError):
    """An annotator that had to end early; `records` are all it was given, in order, with what is done so far."""

    def __init__(self, message: str, records: Sequence[Record]) -> None:
        super().__init__(message)
        self.records = list(records)


def make_random(record: Record, seed: int) -> random.Random:
    """A random source that depends on the record and the seed alone, so the order of records does not matter."""
    digest = hashlib.sha256(f"{seed}/{record.id}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))
