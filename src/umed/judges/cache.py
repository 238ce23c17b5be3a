"""`VerdictCache`: the answers of a paid judge on disk, each stored as it arrives."""

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from umed.errors import InputError
from umed.judges.base import Verdict


class VerdictCache:
    """A sqlite file of verdicts; failures are not stored. Safe to kill, and to share between processes.

    Raises:
        InputError: the file cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, timeout=60)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None
        self._execute("CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, score REAL NOT NULL, reason TEXT)")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._db.close()

    def get(self, key: str) -> Verdict | None:
        rows = self._execute("SELECT score, reason FROM verdicts WHERE key = ?", key)
        return Verdict(*rows[0]) if rows else None

    def put(self, key: str, verdict: Verdict) -> None:
        """Store and commit."""
        self._execute("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?)", key, verdict.score, verdict.reason)

    def _execute(self, statement: str, *values: str | float | None) -> list[tuple[float, str]]:
        try:
            with self._db:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._db.close()
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> InputError:
        return InputError(f"the judge's cache {self._path} cannot be used ({error}): name another file in judge.cache")
