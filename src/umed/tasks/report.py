"""`task=report`: a run in the paper's tables, its published rows beside ours: text, CSV, LaTeX, one HTML page, W&B."""

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from omegaconf import DictConfig
from PIL import Image

from umed.errors import InputError, check_number
from umed.evaluation.findings import describe_findings
from umed.evaluation.paper_tables import PaperTable
from umed.evaluation.render import as_csv, as_latex, as_text
from umed.evaluation.report import build_report, find_stages
from umed.evaluation.report_figures import draw_curves_of, find_examples, find_unfinished
from umed.evaluation.report_page import build_page
from umed.run_files import write_whole

DRAWN = ("examples", "reward_curves")  # of the run's figures, those that the page shows in another form


def report(cfg: DictConfig) -> None:
    """Score all predictions of `predictions=RUN` again and write `report/` into the run folder of this call.

    Raises:
        InputError: no predictions there, or a file that cannot be scored.
    """
    check_number("task.draws", cfg.task.draws, at_least=0)
    if not isinstance(cfg.predictions, str):
        raise InputError("predictions is not set: give a run folder, predictions=RUN")
    given, out = Path(cfg.predictions), Path(cfg.paths.run_dir)
    loggers = []
    if any("wandb" in str(node.get("_target_", "")).lower() for node in (cfg.get("logger") or {}).values()):
        from umed.training import stage_loggers  # takes seconds to import, and only W&B needs it

        loggers = stage_loggers(cfg, "report")
    tables, figure = build_report(cfg, given)
    stages = list(find_stages(given))
    pictures = {} if figure is None else {"accuracy by IoU": as_png(figure)}
    drawn = [path for path in sorted(given.glob("figures/*.png")) if path.stem not in DRAWN]
    pictures |= {path.stem: as_jpeg(path) if path.stem.startswith("data_") else path.read_bytes() for path in drawn}
    if warning := find_unfinished(given, stages):
        print(warning, file=sys.stderr)
    text = "\n".join(map(as_text, tables))
    write_whole(out / "report" / "table.txt", text)
    write_whole(out / "report" / "table.csv", as_csv(tables))
    write_whole(out / "report" / "table.tex", "\n".join(map(as_latex, tables)))
    write_whole(out / "report" / "report.html", describe(given, stages, tables, pictures, warning))
    if figure is not None:
        (out / "report" / "accuracy_by_iou.png").write_bytes(pictures["accuracy by IoU"])
    if loggers:
        from umed.callbacks.wandb_tables import log_report

        log_report(loggers, tables, figure)
    print(text)
    print(f"-> {out / 'report'}: report.html, table.txt, table.csv, table.tex")


def describe(
    run: Path, stages: Sequence[str], tables: Sequence[PaperTable], pictures: Mapping[str, bytes], warning: str
) -> str:
    """The page: what was found, examples after the first stage, fine-tuning and the last one, curves, tables."""
    mark = "SYNTHETIC pictures: " if any(table.title.startswith("SYNTHETIC") for table in tables) else ""
    few = list(dict.fromkeys([stages[0], *(s for s in ("sft",) if s in stages), stages[-1]]))
    curves = {stage: as_png(drawn) for stage, drawn in draw_curves_of(run, stages, mark).items()}
    findings = describe_findings(run, stages, mark)
    examples = find_examples(run, few)
    return build_page(run, tables, pictures, findings=findings, warning=warning, examples=examples, curves=curves)


def as_jpeg(path: Path) -> bytes:
    """A picture as JPEG, which takes a tenth of the room of a PNG where pixels are noisy."""
    content = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(content, format="JPEG", quality=80)
    return content.getvalue()


def as_png(figure: Figure) -> bytes:
    """The picture of a figure."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
