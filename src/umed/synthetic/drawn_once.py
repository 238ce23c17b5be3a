"""Folders of SYNTHETIC files that are drawn once: whole or absent, and never read under other parameters."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from umed.errors import InputError


def is_drawn(folder: Path, parameters: Mapping[str, int], option: str) -> bool:
    """Whether the folder is there.

    Args:
        option: where the folder is set, for the message.

    Raises:
        InputError: it was drawn with other parameters.
    """
    if not folder.exists():
        return False
    there: Any
    try:
        there = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
        there = {name: there[name] for name in parameters}
    except (OSError, ValueError, KeyError, TypeError):
        there = "something else"
    if there != parameters:
        raise InputError(f"{folder} holds {there}, asked for is {parameters}: remove it or set {option}")
    return True


def draw_once(
    folder: Path, parameters: Mapping[str, int], option: str, note: str, write: Callable[[Path], Mapping[str, Any]]
) -> None:
    """Write everything beside its place, then rename it: nobody ever reads half of it.

    Args:
        note: text of `SYNTHETIC.txt`.
        write: fills a folder; what it returns is kept in `phantom.json` beside the parameters.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        extra = write(half)
        (half / "SYNTHETIC.txt").write_text(note, encoding="utf-8")
        (half / "phantom.json").write_text(json.dumps({**parameters, **extra}), encoding="utf-8")
        half.chmod(0o755)
        try:
            half.rename(folder)
        except OSError:  # another run was faster; its files are the same or it is refused
            if not is_drawn(folder, parameters, option):
                raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
