"""`Journal`: every paid answer on disk before anything is done with it, and the batches under way."""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from umed.errors import InputError

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, record TEXT NOT NULL, turn TEXT NOT NULL, body TEXT NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, cost REAL, time TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (name TEXT PRIMARY KEY, requests TEXT NOT NULL, batch TEXT, done INTEGER NOT NULL);
"""
_ADDED = (("answers", "estimate", "INTEGER"), ("batches", "endpoint", "TEXT"))  # journals of old have none


@dataclass(frozen=True, slots=True)
class Answer:
    """A paid answer: the body as it came, its tokens (counted by the endpoint, else estimated), USD if known, time.

    `estimate`: tokens in, as they were thought before it was asked for.
    """

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
    """A request that was sent, as far as its answer needs it: the key, whose and which turn, estimated tokens in."""

    key: str
    record: str
    turn: str
    tokens: int


class Journal:
    """A sqlite file; each answer is committed as it is put, so it is there after any kill. One process at a time.

    Raises:
        InputError: the file cannot be opened, read or written, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=2, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None
        # a second run on the same journal would pay for the same answers
        for statement in ("PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL"):
            self._execute(statement)
        for statement in _TABLES.split(";")[:-1]:
            self._execute(statement)
        for table, column, kind in _ADDED:
            if column not in [row[1] for row in self._execute(f"PRAGMA table_info({table})")]:
                self._execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        self._execute("BEGIN IMMEDIATE")  # takes the lock, which is then held until the end
        self._execute("COMMIT")
        if self._execute("PRAGMA quick_check(1)") != [("ok",)]:
            self._db.close()
            raise self._unusable(sqlite3.DatabaseError("the file is damaged"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._db.close()

    def get(self, key: str) -> Answer | None:
        rows = self._execute("SELECT * FROM answers WHERE key = ?", key)
        return Answer(*rows[0]) if rows else None

    def put(self, answers: Iterable[Answer]) -> None:
        """Store and commit, all at once; an answer that is there already stays."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [
            (a.key, a.record, a.turn, a.body, a.input, a.output, a.cost, a.time or now, a.estimate) for a in answers
        ]
        self._execute("BEGIN IMMEDIATE")
        for row in rows:
            self._execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)
        self._execute("COMMIT")

    def tokens(self) -> list[tuple[int, int, float | None, int | None]]:
        """Tokens in, tokens out, USD if it was known, and the estimate of the tokens in, of every answer."""
        return self._execute("SELECT input, output, cost, estimate FROM answers")

    def begin_batch(self, name: str, requests: Iterable[Sent], endpoint: str) -> None:
        """Note that a batch is about to be submitted: `name` is how the endpoint's list can be searched for it."""
        told = json.dumps(list(requests))
        self._execute("INSERT OR REPLACE INTO batches VALUES (?, ?, NULL, 0, ?)", name, told, endpoint)

    def submitted(self, name: str, batch: str) -> None:
        self._execute("UPDATE batches SET batch = ? WHERE name = ?", batch, name)

    def end_batch(self, name: str) -> None:
        self._execute("UPDATE batches SET done = 1 WHERE name = ?", name)

    def open_batches(self, endpoint: str) -> list[tuple[str, list[Sent], str | None]]:
        """Name, requests and id (None: killed before it was known) of the batches under way at an endpoint."""
        rows = self._execute(
            "SELECT name, requests, batch FROM batches WHERE done = 0 AND COALESCE(endpoint, ?) = ? ORDER BY rowid",
            endpoint,
            endpoint,
        )
        return [(name, [Sent(*r) for r in json.loads(requests)], batch) for name, requests, batch in rows]

    def batch_count(self) -> int:
        """Batches ever begun: makes the name of the next one new."""
        return int(self._execute("SELECT COUNT(*) FROM batches")[0][0])

    def _execute(self, statement: str, *values: str | float | None) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._db.close()
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> InputError:
        if "locked" in str(error):
            return InputError(f"the annotator's journal {self.path} is held by another run: wait until it has ended")
        return InputError(
            f"the annotator's journal {self.path} cannot be used ({error}): restore it or name another file in "
            "annotator.journal (its answers would be asked for and paid again)"
        )
