"""`task=parity`: every model family, tiny and random, against plain transformers; the table in the README."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from umed.errors import InputError
from umed.synthetic.parity import CHECKS, NEED_IMAGE_TOKENS, TinyModel
from umed.synthetic.tiny_models import backbone_of, family_names


def parity(cfg: DictConfig) -> None:
    """Run every check for every family, print the table, write it to `<run>/parity.{json,md}`.

    Raises:
        InputError: the name of no family, or a check above its limit.
    """
    known = family_names()
    chosen = cfg.task.families or known
    families = [str(name) for name in ([chosen] if isinstance(chosen, str | int | float) else chosen)]
    if unknown := sorted(set(families) - set(known)):
        raise InputError(f"task.families={unknown}: the families are {', '.join(known)}")
    limits = {name: limit for name, (_, limit) in CHECKS.items()}
    differences: dict[str, dict[str, float]] = {}
    for family in tqdm(families, desc="families", unit="family"):
        with TemporaryDirectory() as folder:
            tiny = TinyModel(family, Path(folder))
            differences[family] = {name: check(tiny) for name, (check, _) in CHECKS.items()}
    run = Path(cfg.paths.run_dir)
    run.mkdir(parents=True, exist_ok=True)
    (run / "parity.json").write_text(json.dumps(differences, indent=1) + "\n", encoding="utf-8")
    rows = [[family, *(_cell(family, *item) for item in values.items())] for family, values in differences.items()]
    head = ["family", *(f"{name} (<= {limit:g})" for name, limit in limits.items())]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    (run / "parity.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    table = Table(*head, title="parity with plain transformers: largest difference (limit)", title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)
    over = [f"{f}: {name}" for f, values in differences.items() for name, v in values.items() if not v <= limits[name]]
    if over:
        raise InputError(f"above the limit: {'; '.join(over)}")


def _cell(family: str, check: str, value: float) -> str:
    if backbone_of(family).no_attention and check in NEED_IMAGE_TOKENS:
        return "refused" if value == 0 else "not refused"
    return "0" if value == 0 else f"{value:.1e}"
