"""The bars of a benchmark."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from umed.bench.clock import PARTS
from umed.bench.contenders import CONTENDERS, FIRST
from umed.bench.summary import Row

COLORS = dict(zip(PARTS, ("#4477aa", "#ccbb44", "#ee6677"), strict=True))


def draw_bars(rows: Sequence[Row], ratios: Mapping[str, float]) -> Figure:
    """Seconds a step, split, one panel for each shape and kind of work."""
    panels: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        panels.setdefault((row["shape"], CONTENDERS[row["contender"]].work), []).append(row)
    heights = [len(of) + 1 for of in panels.values()]
    figure = Figure(figsize=(9, 0.42 * sum(heights) + 0.5 * len(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, ((shape, work), of) in zip(axes, panels.items(), strict=True):
        left = [0.0] * len(of)
        names = [CONTENDERS[row["contender"]].title for row in of]
        for part in PARTS if work == "rewarding" else PARTS[-1:]:
            widths = [row["split_s"][part] for row in of]
            axis.barh(names, widths, left=left, color=COLORS[part], label=part)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for place, row in enumerate(of):
            ratio = ratios.get(f"{shape}/{row['contender']}")
            text = f" {row['step_s']:.2f} s" + ("" if ratio is None else f", {ratio:.2f} of {FIRST[work]}")
            axis.text(left[place], place, text, va="center", fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.22)
        axis.set_title(f"{shape}: {work}, seconds a step", fontsize=9)
        axis.tick_params(labelsize=8)
        if work == "rewarding":
            axis.legend(fontsize=7, loc="lower right")
    return figure
