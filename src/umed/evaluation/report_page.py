"""The whole report of a run as one HTML page that needs no other file and no network: findings, pictures, tables."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from umed.errors import InputError
from umed.evaluation.paper_tables import PaperTable
from umed.evaluation.render import as_html
from umed.evaluation.report_figures import Example, read_config
from umed.run_files import METRICS, read_metrics

# on a narrow screen a table's row is a block, and each of its cells a line with the column's name
STYLE = """
body{font:15px/1.5 sans-serif;margin:2em auto;max-width:75em;padding:0 1em;overflow-wrap:anywhere}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}img{max-width:100%}li{font-size:90%}ul{padding-left:1.2em}
table{border-collapse:collapse;overflow-wrap:normal}
td,th{padding:.2em .5em;border-bottom:1px solid #ddd;text-align:right}
th:first-child{text-align:left}.published{color:#666}.sanity{color:#888;font-size:90%}.ours{font-weight:bold}
.found{font-size:1.15em}.warning{background:#fff3cd;padding:.5em 1em}.small{color:#666;font-size:90%}
.row{display:grid;gap:.8em;grid-template-columns:repeat(auto-fit,minmax(min(100%,105px),1fr));max-width:60em}
.row img{width:100%}figure{margin:0}figcaption{font-size:85%;line-height:1.35}
.wide{display:grid;gap:1em;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr))}
@media(max-width:50em){table,tbody,tr,td,th{display:block}.head,td:empty{display:none}
tr{border-bottom:1px solid #999;padding:.3em 0}td,th{border:0;padding:.05em 0}th{text-align:left}
td{display:flex;justify-content:space-between;font-weight:normal}td::before{content:attr(data-column);color:#666}}
"""


def build_page(
    run: Path,
    tables: Sequence[PaperTable],
    pictures: Mapping[str, bytes],
    *,
    findings: Sequence[str] = (),
    warning: str = "",
    examples: Sequence[Example] = (),
    curves: Mapping[str, bytes] = {},  # read only
) -> str:
    """The page of a run folder.

    Args:
        pictures: title -> PNG or JPEG, for the end of the page.
        findings: sentences; warning: one that stands above them.
        curves: stage -> PNG.
    """
    parts = [f"<h1>{html.escape(run.name)}</h1>"]
    parts += [f'<p class="warning">{html.escape(warning)}</p>'] if warning else []
    parts += [f'<p class="found">{html.escape(" ".join(findings))}</p>'] if findings else []
    parts += [_show_examples(examples)] if examples else []
    if curves:
        shown = "".join(_image(f"{stage}: curves", content) for stage, content in curves.items())
        parts.append(f'<h2>Rewarding</h2><div class="wide">{shown}</div>')
    parts += [*map(as_html, tables), _describe_run(run), _list_leaks(read_note(run / "leaks.json"))]
    parts += map(_list_splits, sorted(run.glob("predictions/*/splits.json")))
    parts += [f"<h2>{html.escape(name)}</h2>{_image(name, content)}" for name, content in pictures.items()]
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{view}<title>{html.escape(run.name)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def read_note(path: Path) -> dict[str, Any]:
    """What a run has noted in a file; empty where there is none.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not readable ({error}): evaluate the run anew, or remove the file") from None


def _show_examples(examples: Sequence[Example]) -> str:
    """A row a picture: true boxes in green, predicted ones in orange, the answers below."""
    rows = []
    for example in examples:
        answers = "".join(
            f"<figure>{_image(stage, content)}"
            f"<figcaption><b>{html.escape(stage)}</b> {html.escape(text)}</figcaption></figure>"
            for stage, content, text in example.answers
        )
        rows.append(f'<h3>{html.escape(example.name)}</h3><div class="row">{answers}</div>')
    note = '<p class="small">The first test pictures of each source; true boxes green, predicted boxes orange.</p>'
    return f"{''.join(rows)}{note}"


def _image(name: str, content: bytes) -> str:
    kind = "jpeg" if content.startswith(b"\xff\xd8") else "png"
    data = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(name)}" src="data:image/{kind};base64,{data}">'


def _describe_run(run: Path) -> str:
    """Model, seed and what was chosen on the command line."""
    config: Any = read_config(run)
    if not config:
        return ""
    chosen = run / ".hydra" / "overrides.yaml"
    overrides = " ".join(yaml.safe_load(chosen.read_text(encoding="utf-8")) or []) if chosen.is_file() else ""
    command = f"model {config['model']['path']}, seed {config['seed']}; python run.py {overrides}"
    metrics = read_metrics(run) if (run / METRICS).is_file() else {}
    names = [(name.split("/"), count) for name, count in metrics.items()]
    kept = [f"{parts[1]} {n:.0f}" for parts, n in names if (parts[0], parts[-1]) == ("prepare", "kept")]
    records = f"<p>Records: {html.escape(', '.join(kept))}</p>" if kept else ""
    return f"<h2>The run</h2><p>{html.escape(command)}</p>{records}"


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
