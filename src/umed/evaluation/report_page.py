"""The whole report of a run as one HTML page that needs no other file and no network."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from umed.errors import InputError
from umed.evaluation.paper_tables import PaperTable
from umed.evaluation.render import as_html
from umed.run_files import METRICS, read_metrics

STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:75em;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}th:first-child{text-align:left}"
    ".published{color:#666}.sanity{color:#888;font-size:90%}.ours{font-weight:bold}img{max-width:100%}li{font-size:90%}"
)


def build_page(run: Path, tables: Sequence[PaperTable], pictures: Mapping[str, bytes]) -> str:
    """The page of a run folder.

    Args:
        pictures: title -> PNG.
    """
    parts = [f"<h1>{html.escape(run.name)}</h1>", _describe_run(run), *map(as_html, tables)]
    parts.append(_list_leaks(read_note(run / "leaks.json")))
    parts += map(_list_splits, sorted(run.glob("predictions/*/splits.json")))
    for name, content in pictures.items():
        data = base64.b64encode(content).decode()
        parts.append(f'<h2>{html.escape(name)}</h2><img alt="{html.escape(name)}" src="data:image/png;base64,{data}">')
    head = f'<meta charset="utf-8"><title>{html.escape(run.name)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def read_note(path: Path) -> dict[str, Any]:
    """What a run has noted in a file; empty where there is none.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not readable ({error}): evaluate the run anew, or remove the file") from None


def _describe_run(run: Path) -> str:
    """Model, seed and what was chosen on the command line."""
    path, chosen = run / ".hydra" / "config.yaml", run / ".hydra" / "overrides.yaml"
    if not path.is_file():
        return ""
    config = OmegaConf.load(path)
    overrides = " ".join(OmegaConf.load(chosen)) if chosen.is_file() else ""
    command = f"model {config.model.path}, seed {config.seed}; python run.py {overrides}"
    metrics = read_metrics(run) if (run / METRICS).is_file() else {}
    names = [(name.split("/"), count) for name, count in metrics.items()]
    kept = [f"{parts[1]} {n:.0f}" for parts, n in names if (parts[0], parts[-1]) == ("prepare", "kept")]
    records = f"<p>Records: {html.escape(', '.join(kept))}</p>" if kept else ""
    return f"<p>{html.escape(command)}</p>{records}"


def _list_leaks(leaks: Mapping[str, Any]) -> str:
    items = [
        f"<li>{html.escape(dataset)}: {overlap['pictures']} of {test['pictures']} test pictures ({overlap['items']} of "
        f"{test['items']} items) are in {html.escape(where)}</li>"
        for dataset, test in leaks.items()
        for where, overlap in test.items()
        if isinstance(overlap, dict)
    ]
    return f"<h2>Test pictures in training, by hash</h2><ul>{''.join(items)}</ul>" if leaks else ""


def _list_splits(path: Path) -> str:
    """The split files of a stage with their hashes."""
    items = [
        f"<li>{html.escape(name)}: {html.escape(split['file'])}, SHA-256 {html.escape(split['sha256'])}, protocol "
        f"{html.escape(split['protocol'])}</li>"
        for name, split in read_note(path).items()
    ]
    return f"<h2>Split files of {html.escape(path.parent.name)}</h2><ul>{''.join(items)}</ul>"
