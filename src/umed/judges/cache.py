"""`VerdictCache`: the verdicts of a paid judge on disk, each stored as it arrives."""

from pathlib import Path

from umed.judges.base import Verdict
from umed.llm.store import Store

_TABLE = "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, score REAL NOT NULL, reason TEXT)"


class VerdictCache(Store):
    """A sqlite file of verdicts that several processes may share; failures are not stored."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _TABLE, "judge.cache", busy=60)

    def get(self, key: str) -> Verdict | None:
        rows = self.execute("SELECT score, reason FROM verdicts WHERE key = ?", key)
        return Verdict(*rows[0]) if rows else None

    def put(self, key: str, verdict: Verdict) -> None:
        """Store and commit; a verdict that is there already stays."""
        self.execute("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?)", key, verdict.score, verdict.reason)
