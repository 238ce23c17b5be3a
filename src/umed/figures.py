"""Pictures of what was said and where it looked, for W&B, notebooks and run folders; matplotlib without a display."""

import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from umed.boxes import Box
from umed.pictures import PREDICTED, TRUE, draw_boxes

LONG, WINDOW = 30, 10  # iterations of a line that is smoothed, and over how many
HEAT = (255, 0, 255)  # magenta: no box has it, and hardly a picture
_JSON = re.compile(r"\[\s*\{.*?(\}\s*\]|$)", re.DOTALL)
_LABEL = re.compile(r'"label"\s*:\s*"([^"]*)"')


def synthetic(sources: Iterable[str]) -> str:
    """The beginning of a title; empty where every picture is real."""
    return "SYNTHETIC pictures: " if any(s.startswith("phantom") for s in sources) else ""


def draw_answer(image: Image.Image, true: Sequence[Box], said: Sequence[Box] | None) -> Image.Image:
    """The picture with its true boxes in green and the said ones in orange."""
    return draw_boxes(draw_boxes(image, true, TRUE, width=3), said or (), PREDICTED)


def heat_overlay(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """The gray picture under its attention: nothing at the least attended token, full color at the most attended.

    Args:
        heat: (rows, columns), one weight an image token, in any scale.
    """
    spread = float(np.ptp(heat))
    share = (heat - heat.min()) / spread if spread > 0 else np.zeros_like(heat)
    tokens = Image.fromarray(np.asarray(share, dtype=np.float32))
    smooth = np.clip(np.asarray(tokens.resize(image.size, Image.Resampling.BILINEAR)), 0.0, 1.0)
    weight = 0.7 * smooth[..., None]
    gray = np.asarray(image.convert("L"))[..., None]
    return Image.fromarray(((1 - weight) * gray + weight * np.array(HEAT)).astype(np.uint8))


def short(answer: str) -> str:
    """An answer for people: each list of JSON boxes as (box: its labels)."""

    def told(found: re.Match[str]) -> str:
        labels = ", ".join(dict.fromkeys(_LABEL.findall(found[0])))
        return f"(box: {labels})" if labels else "(box)"

    return " ".join(_JSON.sub(told, answer).split())


def picture_grid(
    rows: Sequence[Sequence[tuple[Image.Image, str]]], columns: Sequence[str], names: Sequence[str], title: str
) -> Figure:
    """Pictures with their texts below: one row a name, one column a stage."""
    figure = Figure(figsize=(max(4.5, 2.6 * len(columns)), 3.0 * len(rows) + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, line, name in zip(axes, rows, names, strict=True):
        row[0].set_ylabel(name, fontsize=8)
        for axis, (image, text) in zip(row, line, strict=True):
            axis.imshow(image)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(textwrap.fill(text, 38), fontsize=7)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column)
    return figure


def curves(axis: Axes, lines: dict[str, tuple[Sequence[float], Sequence[float]]], title: str) -> None:
    """Named lines over the iterations, or a note that nothing was logged; a long one is pale under its running mean."""
    axis.set_title(title, fontsize=9)
    for name, (x, y) in lines.items():
        if len(x) < LONG:
            axis.plot(x, y, label=name, marker=".", linewidth=1.2)
        else:
            [pale] = axis.plot(x, y, linewidth=0.8, alpha=0.3)
            mean = np.convolve(y, np.ones(WINDOW) / WINDOW, "valid")
            axis.plot(x[WINDOW - 1 :], mean, label=f"{name} (mean of {WINDOW})", color=pale.get_color())
    if lines:
        axis.set_xlim(left=0)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    else:
        axis.text(0.5, 0.5, "nothing logged", ha="center", va="center", transform=axis.transAxes)


def shares_by_bin(counts: Mapping[str, Sequence[tuple[int, int]]], edges: Sequence[float], title: str) -> Figure:
    """Share of right items by bin of IoU, one line a stage, with Wilson's 95 % interval and the items of each bin.

    Args:
        counts: stage -> items and right ones of each bin; an empty bin has no point.
    """
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axis = figure.subplots()
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    for number, (stage, bins) in enumerate(counts.items()):
        shift = (number - (len(counts) - 1) / 2) * 0.015  # side by side, so that no bar hides another
        known = [(x + shift, right / n, *wilson(right, n)) for x, (n, right) in zip(middles, bins, strict=True) if n]
        if known:
            x, y, low, high = map(np.array, zip(*known, strict=True))
            axis.errorbar(x, y, np.clip([y - low, high - y], 0, None), marker="o", capsize=3, label=stage)
    told = [f"{stage}: {' '.join(str(n) for n, _ in bins)}" for stage, bins in counts.items()]
    label = "\n".join(["IoU of said and true boxes; items of each bin, from the left:", *told])
    axis.set(xlabel=label, ylabel="share of right diagnoses", xlim=(0, 1), ylim=(-0.03, 1.03), xticks=edges)
    axis.grid(alpha=0.3)
    if counts:
        axis.legend(fontsize=8)
    axis.set_title(textwrap.fill(title, 80), fontsize=10)
    return figure


def wilson(right: int, items: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share."""
    share, weight = right / items, z * z / items
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / items + weight / (4 * items)) / (1 + weight)
    return middle - half, middle + half
