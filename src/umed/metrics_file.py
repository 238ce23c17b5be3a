"""`metrics.json` of a run folder: flat, name -> number. `evaluation/score.py` says what the names of scores mean."""

import json
from collections.abc import Mapping
from pathlib import Path

from umed.errors import InputError
from umed.records import write_whole

METRICS = "metrics.json"


def read_metrics(run: Path) -> dict[str, float]:
    """All numbers of a run folder.

    Raises:
        InputError: the run has no `metrics.json`, or it is not readable.
    """
    path = run / METRICS
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: no readable metrics ({error}): give a run folder") from None


def update_metrics(path: Path, metrics: Mapping[str, float], instead_of: str | None = None) -> None:
    """Add or replace numbers of the file `path`; a reader sees the old file or the new one.

    Args:
        instead_of: numbers whose names begin so are removed first.
    """
    old = read_metrics(path.parent) if path.exists() else {}
    kept = {name: v for name, v in old.items() if instead_of is None or not name.startswith(instead_of)}
    write_whole(path, json.dumps({**kept, **metrics}, indent=1, sort_keys=True, allow_nan=False) + "\n")
