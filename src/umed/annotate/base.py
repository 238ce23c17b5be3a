"""What an annotator is: a record in, its query and diagnosis out."""

import hashlib
import random
from collections.abc import Iterable
from typing import Protocol

from umed.records import Record


class Annotator(Protocol):
    """Writes `query` and `diagnosis`, with `<region>` where the boxes stand, and its name into `provenance`."""

    def annotate(self, records: Iterable[Record]) -> list[Record]: ...


def choices_of(record: Record, seed: int) -> random.Random:
    """A random source that depends on the record and the seed alone, so the order of records does not matter."""
    digest = hashlib.sha256(f"{seed}/{record.id}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))
