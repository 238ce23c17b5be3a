"""Figures of answers, attention and metrics for W&B, notebooks and run folders; matplotlib without a display."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from umed.boxes import Box
from umed.pictures import PREDICTED, TRUE, draw_boxes

if TYPE_CHECKING:
    import pandas as pd  # its import takes long

LONG, WINDOW = 30, 10  # a line of at least 30 iterations is smoothed over 10
HEAT = (255, 0, 255)  # magenta: used by no box and rare in pictures
_JSON = re.compile(r"\[\s*\{.*?(\}\s*\]|$)", re.DOTALL)
_LABEL = re.compile(r'"label"\s*:\s*"([^"]*)"')


def mark_synthetic(sources: Iterable[str]) -> str:
    """Prefix of a title; empty if every picture is real."""
    return "SYNTHETIC pictures: " if any(s.startswith("phantom") for s in sources) else ""


def draw_answer(image: Image.Image, true: Sequence[Box], predicted: Sequence[Box] | None) -> Image.Image:
    """The picture with its true boxes in green and the predicted ones in orange."""
    return draw_boxes(draw_boxes(image, true, TRUE, width=3), predicted or (), PREDICTED)


def heat_overlay(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """The gray picture with an attention map over it: transparent at the minimum, full color at the maximum.

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


def shorten_boxes(answer: str) -> str:
    """An answer in which each list of JSON boxes is replaced by (box: its labels); odd characters are marked."""

    def replace(match: re.Match[str]) -> str:
        labels = ", ".join(dict.fromkeys(_LABEL.findall(match[0])))
        return f"(box: {labels})" if labels else "(box)"

    words = " ".join(_JSON.sub(replace, answer).split())
    return "".join(c if c.isprintable() else "\ufffd" for c in words)


def draw_grid(
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


def draw_curves(axis: Axes, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str) -> None:
    """Named lines over the iterations; a long one is pale under its running mean, none gives a note."""
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


def draw_reward_curves(histories: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Rewards, critic and validation over the iterations of each rewarding stage, one column a stage.

    Args:
        histories: stage -> what was logged, one row an iteration.
    """
    figure = Figure(figsize=(5.2 * len(histories), 9), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(3, len(histories), squeeze=False, sharey="row")
    for column, (stage, history) in enumerate(histories.items()):
        for axis, (panel, names) in zip(axes[:, column], _panels(history).items(), strict=True):
            logged = {label: history[name].dropna() for name, label in names.items() if name in history}
            lines = {label: (values.index.tolist(), values.tolist()) for label, values in logged.items()}
            draw_curves(axis, lines, f"{stage}: {panel}")
        axes[-1, column].set_xlabel(f"{stage}/iteration")
    return figure


def _panels(history: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Title -> logged name -> label."""
    rewards = [str(name) for name in history if str(name).startswith("reward/")]
    raw = [name for name in rewards if f"{name}_normalized" in rewards]
    return {
        "rewards (raw means)": {name: name.removeprefix("reward/") for name in raw},
        "critic and policy": {
            "policy/explained_variance": "explained variance",  # where the credit has a critic
            "policy/kl": "KL to pi_old",  # 0 with one update a batch
            "policy/entropy": "entropy",
        },
        "validation": {"val/mau/accuracy/avg": "accuracy", "val/mau/iou/avg": "IoU"},
    }


def draw_shares_by_bin(counts: Mapping[str, Sequence[tuple[int, int]]], edges: Sequence[float], title: str) -> Figure:
    """Share of right items by bin of IoU, one line a stage, with Wilson's 95 % interval and the items of each bin.

    Args:
        counts: stage -> items and right ones of each bin; an empty bin has no point.
    """
    from scipy.stats import binomtest  # slow to import

    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axis = figure.subplots()
    middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
    for number, (stage, bins) in enumerate(counts.items()):
        shift = (number - (len(counts) - 1) / 2) * 0.015  # side by side, so that no bar hides another
        known = [
            (x + shift, right / n, *binomtest(right, n).proportion_ci(method="wilson"))
            for x, (n, right) in zip(middles, bins, strict=True)
            if n
        ]
        if known:
            x, y, low, high = map(np.array, zip(*known, strict=True))
            axis.errorbar(x, y, np.clip([y - low, high - y], 0, None), marker="o", capsize=3, label=stage)
    counted = [f"{stage}: {' '.join(str(n) for n, _ in bins)}" for stage, bins in counts.items()]
    label = "\n".join(["IoU of predicted and true boxes; items of each bin, from the left:", *counted])
    axis.set(xlabel=label, ylabel="share of right diagnoses", xlim=(0, 1), ylim=(-0.03, 1.03), xticks=edges)
    axis.grid(alpha=0.3)
    if counts:
        axis.legend(fontsize=8)
    axis.set_title(textwrap.fill(title, 80), fontsize=10)
    return figure


class Estimate(NamedTuple):
    """A value with its interval, at a place."""

    x: float
    value: float
    low: float
    high: float


def draw_estimates(panels: Mapping[str, Mapping[str, Sequence[Estimate]]], label: str, title: str) -> Figure:
    """Lines of estimates with their 95 % intervals, one panel a metric.

    Args:
        panels: metric -> name of a line -> its points.
        label: of the x-axis.
    """
    figure = Figure(figsize=(max(6.0, 4.8 * len(panels)), 4.2), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(1, max(1, len(panels)), squeeze=False)[0]
    for axis, (metric, lines) in zip(axes, panels.items(), strict=False):
        for name, points in lines.items():
            x, y, low, high = (np.array(column) for column in zip(*sorted(points), strict=True))
            axis.errorbar(x, y, np.clip([y - low, high - y], 0, None), marker="o", capsize=3, label=name)
        if any(" - " in name for name in lines):
            axis.axhline(0, color="gray", linewidth=0.8)
        axis.set(xlabel=label, title=metric)
        axis.grid(alpha=0.3)
        if lines:
            axis.legend(fontsize=8)
    return figure
