"""`Store`: a sqlite file that holds what was paid for."""

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from umed.errors import InputError


class Store:
    """A sqlite file that is safe to kill; each statement is committed when it returns.

    Raises InputError: the file cannot be opened, read or written.

    Args:
        tables: statements that create the tables where they are not there, divided by semicolons.
        setting: the config's name of the file, for messages.
        busy: seconds to wait for another process.
    """

    def __init__(self, path: Path, tables: str, setting: str, busy: float) -> None:
        self.path, self._tables, self._setting, self._busy = path, tables, setting, busy

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=self._busy, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self.unusable(error) from None
        self.prepare()
        for statement in filter(str.strip, self._tables.split(";")):
            self.execute(statement)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._db.close()

    def prepare(self) -> None:
        """What is set before the tables are created."""

    def execute(self, statement: str, *values: str | float | None) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._db.close()
            raise self.unusable(error) from None

    def unusable(self, error: Exception) -> InputError:
        if "locked" in str(error):
            return InputError(f"{self.path} ({self._setting}) is held by another run: wait until it has ended")
        return InputError(
            f"{self.path} cannot be used ({error}): restore it or name another file in {self._setting} (its answers "
            "would be asked for and paid again)"
        )
