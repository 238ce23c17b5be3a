"""A source: files on disk in, records out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from umed.records import Dropped, Record


class Source(Protocol):
    """One data set on disk, or several that belong together."""

    @property
    def roots(self) -> dict[str, Path]:
        """Name of each source -> folder to which the `image` of its records is relative."""

    def read(self) -> Iterator[Record | Dropped]:
        """Every item, kept or dropped.

        Raises:
            InputError: what lies there is no such data set.
        """
