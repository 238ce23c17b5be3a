"""`Journal`: every paid answer on disk before anything is done with it, and the batches under way."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import DatabaseError
from typing import Any, NamedTuple, Self

from umed.errors import InputError


class Store:
    """A sqlite file that is safe to kill; each statement is committed when it returns.

    `tables`: statements that create the tables where they are not there, divided by semicolons. `setting`: the config's
    name of the file, for messages. `busy`: seconds to wait for another process. Raises InputError: the file cannot be
    opened, read or written.
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

    def __exit__(self, *_: object) -> None:
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


_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, record TEXT NOT NULL, turn TEXT NOT NULL, body TEXT NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cost REAL, time TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (name TEXT PRIMARY KEY, requests TEXT NOT NULL, batch TEXT, done INTEGER NOT NULL)
"""
_ADDED = (("answers", "estimate", "INTEGER"), ("batches", "endpoint", "TEXT"))  # columns that old journals lack


@dataclass(frozen=True, slots=True)
class Answer:
    """A paid answer as it came; tokens (maybe estimated), `cost` in USD (None = unknown), UTC `time` ("" = now)."""

    key: str
    record: str
    turn: str
    body: str
    input: int
    output: int
    cost: float | None
    time: str = ""
    estimate: int | None = None


class Sent(NamedTuple):
    """A request that was sent: its key, record and turn, and the estimated tokens in."""

    key: str
    record: str
    turn: str
    tokens: int


class Journal(Store):
    """A sqlite file for one process, so that nothing is paid twice. Raises InputError: see `Store`, or it is held."""

    def __init__(self, path: Path, setting: str) -> None:
        super().__init__(path, _TABLES, setting, busy=2)

    def __enter__(self) -> Self:
        super().__enter__()
        for table, column, kind in _ADDED:
            if column not in [row[1] for row in self.execute(f"PRAGMA table_info({table})")]:
                self.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        self.execute("BEGIN IMMEDIATE")  # takes the lock, which is then held until the end
        self.execute("COMMIT")
        if self.execute("PRAGMA quick_check(1)") != [("ok",)]:
            self._db.close()
            raise self.unusable(DatabaseError("the file is damaged"))
        return self

    def prepare(self) -> None:
        for setting in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
            self.execute(f"PRAGMA {setting}")

    def get(self, key: str) -> Answer | None:
        rows = self.execute("SELECT * FROM answers WHERE key = ?", key)
        return Answer(*rows[0]) if rows else None

    def put(self, answers: Iterable[Answer]) -> None:
        """Store and commit, all at once; an answer that is there already stays."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.execute("BEGIN IMMEDIATE")
        for answer in answers:
            row = astuple(replace(answer, time=answer.time or now))
            self.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)
        self.execute("COMMIT")

    def tokens(self) -> list[tuple[int, int, float | None, int | None]]:
        """Tokens in, tokens out, USD if known, and the estimate of the tokens in, of every answer."""
        return self.execute("SELECT input, output, cost, estimate FROM answers")

    def begin_batch(self, name: str, requests: Iterable[Sent], endpoint: str) -> None:
        """Note that a batch is about to be submitted; `name` finds it in the endpoint's list."""
        self.execute(
            "INSERT OR REPLACE INTO batches VALUES (?, ?, NULL, 0, ?)", name, json.dumps(list(requests)), endpoint
        )

    def note_submitted(self, name: str, batch: str) -> None:
        self.execute("UPDATE batches SET batch = ? WHERE name = ?", batch, name)

    def end_batch(self, name: str) -> None:
        self.execute("UPDATE batches SET done = 1 WHERE name = ?", name)

    def open_batches(self, endpoint: str) -> list[tuple[str, list[Sent], str | None]]:
        """Name, requests and id (None: killed before it was known) of the batches under way at an endpoint."""
        rows = self.execute(
            "SELECT name, requests, batch FROM batches WHERE done = 0 AND COALESCE(endpoint, ?) = ? ORDER BY rowid",
            endpoint,
            endpoint,
        )
        return [(name, [Sent(*r) for r in json.loads(requests)], batch) for name, requests, batch in rows]

    def count_batches(self) -> int:
        """Batches ever begun; makes the name of the next one new."""
        return int(self.execute("SELECT COUNT(*) FROM batches")[0][0])
