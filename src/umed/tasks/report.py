"""`task=report`: a run in the paper's tables, its published rows beside ours: text, CSV, LaTeX, one HTML page, W&B."""

import io
from pathlib import Path

from omegaconf import DictConfig

from umed.errors import InputError, check_number
from umed.evaluation.render import as_csv, as_latex, as_text
from umed.evaluation.report import build_report
from umed.evaluation.report_page import build_page
from umed.run_files import write_whole


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
    if cfg.get("logger"):
        from umed.training import stage_loggers  # takes seconds to import, and only a logger needs it

        loggers = stage_loggers(cfg, "report")
    tables, figure = build_report(cfg, given)
    pictures = {}
    if figure is not None:
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=110)
        pictures["accuracy by IoU"] = content.getvalue()
    pictures |= {path.stem: path.read_bytes() for path in sorted(given.glob("figures/*.png"))}
    text = "\n".join(map(as_text, tables))
    write_whole(out / "report" / "table.txt", text)
    write_whole(out / "report" / "table.csv", as_csv(tables))
    write_whole(out / "report" / "table.tex", "\n".join(map(as_latex, tables)))
    write_whole(out / "report" / "report.html", build_page(given, tables, pictures))
    if figure is not None:
        (out / "report" / "accuracy_by_iou.png").write_bytes(pictures["accuracy by IoU"])
    if loggers:
        from umed.callbacks.wandb_tables import log_report

        log_report(loggers, tables, figure)
    print(text)
    print(f"-> {out / 'report'}: report.html, table.txt, table.csv, table.tex")
