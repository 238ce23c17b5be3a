"""`task=parity`: every model family, tiny and random, against plain transformers; what the README's table shows."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from umed.errors import InputError
from umed.synthetic.parity import CHECKS, Tiny, family, names


def parity(cfg: DictConfig) -> None:
    """Run every check for every family, print the table, write it to `<run>/parity.{json,md}`.

    Raises:
        InputError: a family's name that is none, or a check above its limit.
    """
    given = cfg.task.families or names()
    chosen = [given] if isinstance(given, str) else list(given)
    if unknown := sorted(set(chosen) - set(names())):
        raise InputError(f"task.families={unknown}: the families are {', '.join(names())}")
    found: dict[str, dict[str, float]] = {}
    for name in tqdm(chosen, desc="families", unit="family"):
        with TemporaryDirectory() as folder:
            tiny = Tiny(name, Path(folder))
            found[name] = {check: function(tiny) for check, (function, _) in CHECKS.items()}
    run = Path(cfg.paths.run_dir)
    run.mkdir(parents=True, exist_ok=True)
    (run / "parity.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    rows = [[name, *(_said(name, c, v) for c, v in values.items())] for name, values in found.items()]
    head = ["family", *(f"{check} (<= {limit:g})" for check, (_, limit) in CHECKS.items())]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    (run / "parity.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    table = Table(title="parity with plain transformers: largest difference (limit)", title_justify="left")
    for column in head:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)
    over = [f"{n}: {c}" for n, values in found.items() for c, v in values.items() if not v <= CHECKS[c][1]]
    if over:
        raise InputError(f"above the limit: {'; '.join(over)}")


def _said(name: str, check: str, value: float) -> str:
    if family(name).no_attention and check in ("attention", "patch map", "looks"):
        return "refused" if value == 0 else "not refused"
    return "0" if value == 0 else f"{value:.1e}"
