"""The journal: what was paid is there after any end, for one process at a time."""

import sqlite3
from pathlib import Path

import pytest

from umed.errors import InputError
from umed.llm.journal import Answer, Journal, Sent


def open_journal(path: Path) -> Journal:
    return Journal(path, "annotator.journal")


def test_answers_and_batches_are_there_the_next_time(tmp_path: Path) -> None:
    path, sent = tmp_path / "run" / "annotate.sqlite", [Sent("k1", "s/1", "diagnosis", 90)]
    with open_journal(path) as journal:
        journal.put([Answer("k1", "s/1", "diagnosis", "{}", 100, 50, None, estimate=90)])
        journal.put([Answer("k1", "s/1", "diagnosis", "other", 1, 1, 1.0, "then")])
        for name in ("b1", "b2", "b3"):
            journal.begin_batch(name, sent, "http://here")
        journal.note_submitted("b1", "batch-1")
        journal.end_batch("b3")
    with open_journal(path) as journal:
        answer = journal.get("k1")
        assert answer and (answer.body, answer.input, answer.cost, answer.estimate) == ("{}", 100, None, 90)
        assert answer.time and journal.get("k2") is None and journal.tokens() == [(100, 50, None, 90)]
        assert journal.open_batches("http://here") == [("b1", sent, "batch-1"), ("b2", sent, None)]
        assert journal.open_batches("http://there") == [] and journal.count_batches() == 3


def test_a_journal_of_an_older_version_is_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old", isolation_level=None) as old:
        old.execute(
            "CREATE TABLE answers (key TEXT PRIMARY KEY, record TEXT NOT NULL, turn TEXT NOT NULL, body TEXT NOT NULL,"
            " input INTEGER NOT NULL, output INTEGER NOT NULL, cost REAL, time TEXT NOT NULL)"
        )
        old.execute(
            "CREATE TABLE batches (name TEXT PRIMARY KEY, requests TEXT NOT NULL, batch TEXT, done INTEGER NOT NULL)"
        )
        old.execute("INSERT INTO answers VALUES ('k', 's/1', 'diagnosis', '{}', 1, 2, 0.5, 'then')")
        old.execute("INSERT INTO batches VALUES ('b', '[]', 'batch-1', 0)")
    old.close()
    with open_journal(tmp_path / "old") as journal:
        assert journal.get("k") == Answer("k", "s/1", "diagnosis", "{}", 1, 2, 0.5, "then", None)
        assert journal.open_batches("http://any") == [("b", [], "batch-1")]
        journal.put([Answer("n", "s/1", "diagnosis", "{}", 1, 2, None, estimate=3)])
        assert journal.tokens() == [(1, 2, 0.5, None), (1, 2, None, 3)]


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "annotate.sqlite"
    with open_journal(path) as journal:
        journal.put(Answer(f"k{i}", "s", "t", "x" * 500, 1, 1, None) for i in range(40))
    whole = path.read_bytes()
    for damaged in (whole[:8192] + b"\xff" * (len(whole) - 8192), b"no database at all, but long enough" * 40):
        path.write_bytes(damaged)
        with (
            pytest.raises(InputError, match="annotate.sqlite cannot be used .*annotator.journal") as error,
            open_journal(path),
        ):
            pass
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be used"), open_journal(path / "below"):
        pass


def test_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = open_journal(tmp_path / "j")
    monkeypatch.setattr(second, "_busy", 0)
    with open_journal(tmp_path / "j"), pytest.raises(InputError, match="held by another run"), second:
        pass
