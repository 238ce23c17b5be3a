"""`task=report`: a run in the paper's tables, its published rows beside ours: text, CSV, LaTeX, one HTML page, W&B."""

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from hydra.utils import instantiate
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from umed.errors import InputError, check_number
from umed.evaluation import verdicts as rules
from umed.evaluation.baselines import majority
from umed.evaluation.files import read_metrics
from umed.evaluation.paper_tables import PaperTable, detail_table, external_table, mau_table, saturation_table
from umed.evaluation.pixel_leaks import leaked
from umed.evaluation.predictions import Line, read_predictions
from umed.evaluation.question import split_of
from umed.evaluation.render import FIELDS, as_csv, as_html, as_latex, as_lines, as_text
from umed.evaluation.results import ROWS, results
from umed.evaluation.rules.mau import accuracy_by_iou, categories, false_positives, mau_metrics
from umed.figures import shares_by_bin, synthetic
from umed.records import read_jsonl, write_whole

STAGES = ("base", "sft", "ppo", "aar")
EDGES = [k / 10 for k in range(11)]
STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:75em;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}th:first-child{text-align:left}"
    ".published{color:#666}.sanity{color:#888;font-size:90%}.ours{font-weight:bold}img{max-width:100%}li{font-size:90%}"
)


def report(cfg: DictConfig) -> None:
    """Score all predictions of `predictions=RUN` again and write the report into the run folder of this call.

    Raises:
        InputError: no predictions there, or a file that cannot be scored.
    """
    check_number("task.draws", cfg.task.draws, at_least=0)
    if not isinstance(cfg.predictions, str):
        raise InputError("predictions is not set: give a run folder, predictions=RUN")
    given, out = Path(cfg.predictions), Path(cfg.paths.run_dir)
    stages = stages_of(given)
    answers = {stage: read_predictions(path) for stage, path in stages.items()}
    metrics = {stage: _metrics(cfg, stages[stage], lines, given) for stage, lines in answers.items()}
    files = {stage: _split_files(lines) for stage, lines in answers.items()}
    published = OmegaConf.to_container(cfg.task.published)
    assert isinstance(published, dict)
    tables = [mau_table(metrics, published["mau"]), detail_table(metrics)]
    tables.append(external_table(metrics, files, published["external"]))
    counts, mark = _counts_by_iou(cfg, answers)
    tables.append(saturation_table(counts, EDGES, mark))
    tables = [table for table in tables if any(row.origin == "ours" for row in table.rows)]
    figure = shares_by_bin(counts, EDGES, f"{mark}diagnosis accuracy by IoU, 95 % intervals") if counts else None
    write_whole(out / "report" / "table.txt", "\n".join(map(as_text, tables)))
    write_whole(out / "report" / "table.csv", as_csv(tables))
    write_whole(out / "report" / "table.tex", "\n".join(map(as_latex, tables)))
    pictures = {"accuracy by IoU": _png(figure)} if figure else {}
    if figure:
        figure.savefig(out / "report" / "accuracy_by_iou.png", dpi=110)
    pictures |= {path.stem: path.read_bytes() for path in sorted(given.glob("figures/*.png"))}
    write_whole(out / "report" / "report.html", page(given, tables, pictures, _noted(given / "leaks.json")))
    _log(cfg, tables, figure, out)
    print("\n".join(map(as_text, tables)))
    print(f"-> {out / 'report'}: report.html, table.txt, table.csv, table.tex")


def stages_of(given: Path) -> dict[str, Path]:
    """Stage -> the folder or file of its predictions, in the order of training.

    Raises:
        InputError: there are none.
    """
    if given.is_file():
        return {given.stem: given}
    folder = given / "predictions"
    if not folder.is_dir():
        if any(given.glob("*.jsonl")):
            return {given.name: given}
        raise InputError(f"{given}: no predictions/ there: give a run folder, one of its stages or a file")
    found = [path for path in folder.iterdir() if any(path.glob("*.jsonl"))]
    if not found:
        raise InputError(f"{folder}: no stage with predictions there: evaluate the run first")
    known = {stage: k for k, stage in enumerate(STAGES)}
    return {path.name: path for path in sorted(found, key=lambda p: (known.get(p.name, len(known)), p.name))}


def _metrics(cfg: DictConfig, path: Path, lines: Sequence[Line], run: Path) -> dict[str, float]:
    """All numbers of a stage, from its answers alone."""
    options = {"synonyms": cfg.data.synonyms, "named": cfg.task.named}
    rows = {"majority": majority(lines)}
    for row in (row for row in ROWS if row != "majority"):
        for file in sorted(path.glob(f"sanity/*.{row}.jsonl")) if path.is_dir() else ():
            rows.setdefault(row, []).extend(read_predictions(file))
    leaks = run / "leaks.jsonl"
    known = leaked(read_jsonl(leaks)) if leaks.is_file() else {}
    found = rules.verdicts(lines, **options)
    metrics = results(lines, found, rows, known, draws=cfg.task.draws, **options)
    own = Counter(line["source"] for line in lines if line["dataset"] == "mau")
    metrics |= {f"mau/n/{source}": count for source, count in own.items()}
    several = categories([line for line in lines if line["dataset"] == "mau"])
    metrics["mau/counted/multiclass"] = sum(own[source] for source, names in several.items() if len(names) > 1)
    if sampled := answers_of_mau(path / "mau_sampled.jsonl"):
        values = mau_metrics(sampled, ["iou"])
        metrics |= {name.replace("mau/iou", "mau/iou_sampled"): value for name, value in values.items()}
        metrics["mau/counted/sampled"] = len(sampled)
    if controls := answers_of_mau(path / "sanity" / "mau.controls.jsonl", CONTROL):
        metrics |= {**false_positives(controls, cfg.data.synonyms), "mau/controls/n": len(controls)}
    return metrics


SAMPLED = ("id", "output", "boxes", "source", "category", "categories", "gold_boxes", "width", "height")
CONTROL = ("id", "output", "boxes", "source", "categories")


def answers_of_mau(path: Path, fields: Sequence[str] = SAMPLED) -> list[Line]:
    """The lines that stand beside a stage's answers; none where there is no such file.

    Raises:
        InputError: a line without one of the fields.
    """
    lines = list(read_jsonl(path)) if path.is_file() else []
    for place, line in enumerate(lines, 1):
        if lost := [name for name in fields if name not in line]:
            raise InputError(f"{path}: line {place} has no {lost[0]}: evaluate the stage anew, or remove the file")
    return lines


def _split_files(lines: Sequence[Line]) -> dict[str, str]:
    """Data set -> its split file; all of them, where the answers are of several."""
    found: dict[str, dict[str, None]] = {}
    for line in lines:
        found.setdefault(line["dataset"], {})[split_of(line)] = None
    return {dataset: " and ".join(files) for dataset, files in found.items()}


def _counts_by_iou(
    cfg: DictConfig, answers: Mapping[str, Sequence[Line]]
) -> tuple[dict[str, list[tuple[int, int]]], str]:
    """Stage -> items and right ones of each bin of IoU, the paper's saturation plot; and the mark of drawn pictures."""
    own = {stage: [x for x in lines if x["dataset"] == "mau"] for stage, lines in answers.items()}
    counts = {
        stage: accuracy_by_iou(rules.verdicts(lines, synonyms=cfg.data.synonyms, named=cfg.task.named), EDGES)
        for stage, lines in own.items()
        if lines
    }
    return counts, synthetic(x["source"] for lines in own.values() for x in lines)


def _noted(path: Path) -> dict[str, Any]:
    """What a run has noted in a file; empty where there is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not readable ({error}): evaluate the run anew, or remove the file") from None


def page(run: Path, tables: Sequence[PaperTable], pictures: Mapping[str, bytes], leaks: Mapping[str, Any]) -> str:
    """The whole report as one file that needs no other and no network."""
    parts = [f"<h1>{html.escape(run.name)}</h1>", _what_was_run(run)]
    parts += map(as_html, tables)
    if leaks:
        found = [
            f"<li>{html.escape(dataset)}: {of[where]['pictures']} of {of['pictures']} test pictures "
            f"({of[where]['items']} of {of['items']} items) are in {html.escape(where)}</li>"
            for dataset, of in leaks.items()
            for where in of
            if isinstance(of[where], dict)
        ]
        parts.append(f"<h2>Test pictures in training, by hash</h2><ul>{''.join(found)}</ul>")
    parts += map(_splits, sorted(run.glob("predictions/*/splits.json")))
    for name, content in pictures.items():
        data = base64.b64encode(content).decode()
        parts.append(f'<h2>{html.escape(name)}</h2><img alt="{html.escape(name)}" src="data:image/png;base64,{data}">')
    head = f'<meta charset="utf-8"><title>{html.escape(run.name)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _what_was_run(run: Path) -> str:
    """Model, seed and what was chosen on the command line."""
    path = run / ".hydra" / "config.yaml"
    if not path.is_file():
        return ""
    config, words = OmegaConf.load(path), run / ".hydra" / "overrides.yaml"
    asked = " ".join(OmegaConf.load(words)) if words.is_file() else ""
    told = f"model {config.model.path}, seed {config.seed}; python run.py {asked}"
    prepared = read_metrics(run) if (run / "metrics.json").is_file() else {}
    kept = [
        f"{n.split('/')[1]} {v:.0f}" for n, v in prepared.items() if n.startswith("prepare/") and n.endswith("/kept")
    ]
    return f"<p>{html.escape(told)}</p>" + (f"<p>Records: {html.escape(', '.join(kept))}</p>" if kept else "")


def _splits(path: Path) -> str:
    """The split files of a stage with their hashes."""
    told = "".join(
        f"<li>{html.escape(name)}: {html.escape(split['file'])}, SHA-256 {html.escape(split['sha256'])}, protocol "
        f"{html.escape(split['protocol'])}</li>"
        for name, split in _noted(path).items()
    )
    return f"<h2>Split files of {html.escape(path.parent.name)}</h2><ul>{told}</ul>"


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _log(cfg: DictConfig, tables: Sequence[PaperTable], figure: Figure | None, run: Path) -> None:
    """The tables and the figure into a W&B run of their own."""
    if not cfg.logger:
        return
    from lightning.pytorch.loggers import WandbLogger  # takes seconds, and only a logger needs it

    for make in instantiate(cfg.logger).values():
        logger = make(stage="report", run=run)
        if isinstance(logger, WandbLogger):
            logged: dict[str, Any] = {}
            for table in tables:
                rows: list[Any] = as_lines(table)
                logged[f"report/{table.name}"] = wandb.Table(columns=list(FIELDS), data=rows)
            if figure is not None:
                logged["report/accuracy_by_iou"] = wandb.Image(figure)
            logger.experiment.log(logged)
            logger.finalize("success")
