"""Curves of a run in the sections that W&B shows: `python -m umed.dashboard RUN_DIR`.

Writes `dashboard.html` into the run folder; with WANDB_MODE=online also a workspace of the project, which needs
`pip install wandb-workspaces`.
"""

import csv
import os
import sys
from html import escape
from pathlib import Path

from umed.callbacks.headlines import SECTIONS
from umed.config import register, stored_config
from umed.errors import InputError
from umed.run_files import read_metrics, write_whole

WIDTH, HEIGHT = 300, 140
COLORS = ("#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#666666")
Curves = dict[str, dict[str, list[float]]]  # name -> stage -> values
STYLE = (
    "body{font:14px sans-serif;margin:16px}figure{display:inline-block;margin:6px}svg{background:#f7f7f7}"
    "td,th{padding:2px 10px;text-align:left}"
)


def read_curves(run: Path) -> Curves:
    """Every logged number of every stage, from `logs/<stage>/metrics.csv`. Raises InputError: there is none."""
    files = sorted(run.glob("logs/*/metrics.csv"))
    if not files:
        raise InputError(f"{run}: no logs/<stage>/metrics.csv: give a run folder, whose logger is not none")
    curves: Curves = {}
    for path in files:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value:
                        curves.setdefault(name, {}).setdefault(path.parent.name, []).append(float(value))
    return curves


def list_sections(curves: Curves) -> dict[str, list[str]]:
    """Section -> the panels that have a curve, in the order in which they are read; then all other curves."""
    chosen = {s: [f"{s}/{n}" for n in names if f"{s}/{n}" in curves] for s, names in SECTIONS.items()}
    named = {name for names in chosen.values() for name in names}
    rest = sorted(name for name in curves if "/" in name and name not in named and not name.endswith("/iteration"))
    return {section: names for section, names in {**chosen, "all others": rest}.items() if names}


def render_dashboard(run: Path) -> str:
    """The page: a section for each group of curves, and the test numbers of every stage."""
    curves = read_curves(run)
    stages = sorted({stage for of in curves.values() for stage in of})
    colors = {stage: COLORS[k % len(COLORS)] for k, stage in enumerate(stages)}
    legend = " ".join(f'<b style="color:{color}">{escape(stage)}</b>' for stage, color in colors.items())
    parts = [f"<h1>{escape(run.name)}</h1><p>{legend}</p>"]
    for section, names in list_sections(curves).items():
        figures = "".join(draw_curves(name, curves[name], colors) for name in names)
        is_open = "" if section == "all others" else " open"
        parts.append(f"<details{is_open}><summary><b>{escape(section)}</b></summary>{figures}</details>")
    if (run / "metrics.json").is_file():
        tests = {k: v for k, v in sorted(read_metrics(run).items()) if "/" in k and k.endswith("/avg")}
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{value:.3f}</td></tr>" for name, value in tests.items())
        parts.append(f"<details open><summary><b>test</b></summary><table>{rows}</table></details>")
    head = f'<meta charset="utf-8"><title>{escape(run.name)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def draw_curves(name: str, of_stage: dict[str, list[float]], colors: dict[str, str]) -> str:
    """One panel as SVG; a value that is not finite is left out."""
    finite = [v for values in of_stage.values() for v in values if abs(v) < float("inf")]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    lines = []
    for stage, values in of_stage.items():
        points = " ".join(
            f"{WIDTH * k / max(1, len(values) - 1):.1f},{HEIGHT * (1 - (v - low) / ((high - low) or 1)):.1f}"
            for k, v in enumerate(values)
            if abs(v) < float("inf")
        )
        lines.append(f'<polyline fill="none" stroke="{colors[stage]}" points="{points}"/>')
    drawn = f'<svg width="{WIDTH}" height="{HEIGHT}" role="img">{"".join(lines)}</svg>'
    return f"<figure>{drawn}<figcaption>{escape(name)}: {low:.3g} to {high:.3g}</figcaption></figure>"


def save_workspace(run: Path) -> str:
    """Build the same sections as a workspace of the run's project; its address.

    Raises:
        InputError: the package for it is not installed.
    """
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports import v2
    except ImportError:
        raise InputError("dashboard: wandb-workspaces is not installed: pip install wandb-workspaces") from None
    sections = [
        workspaces.Section(
            name=section, panels=[v2.LinePlot(y=[name]) for name in names], is_open=section != "all others"
        )
        for section, names in list_sections(read_curves(run)).items()
    ]
    project = str(stored_config(run).name)
    entity = os.environ.get("WANDB_ENTITY", "")
    workspace = workspaces.Workspace(name=f"umed {run.name}", entity=entity, project=project, sections=sections)
    return str(workspace.save().url)


def main(arguments: list[str]) -> None:
    """Errors are told in one line, and the exit code is 1."""
    try:
        if len(arguments) != 1:
            raise InputError("usage: python -m umed.dashboard RUN_DIR")
        run = Path(arguments[0]).resolve()
        write_whole(run / "dashboard.html", render_dashboard(run))
        print(f"-> {run / 'dashboard.html'}")
        if os.environ.get("WANDB_MODE") == "online":
            register()
            print(f"-> {save_workspace(run)}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
