"""SYNTHETIC chest films. `seen` is the part of the film that the heart leaves free."""

import math
from collections.abc import Callable

import numpy as np

from umed.synthetic.pictures.canvas import Array, Canvas, Drawing, Generator, Lesion, choose_side, choose_size


def _draw_film(c: Canvas, patient: Generator, rng: Generator, heart: float) -> tuple[dict[int, Array], Array]:
    """A chest film; returns the lungs by side of the picture (-1 left, 1 right) and the heart (half width `heart`)."""
    wall, air, center = patient.uniform(105, 130), patient.uniform(48, 72), patient.uniform(160, 180)
    c.level[:] = 15
    c.paint(c.ellipse(0, 0.35, 1.0, 1.4), wall)
    c.paint(c.below(c.x * c.x * 0.6 + 0.62, 4.0), wall + 30)
    lungs, a, b = {}, patient.uniform(0.34, 0.39), patient.uniform(0.7, 0.8)
    for side in (-1, 1):
        dome = 0.55 + 0.08 * side + 2.2 * (c.x - side * 0.42) ** 2
        lungs[side] = c.ellipse(side * 0.45, 0.0, a, b, side * -0.1, 4.0) * (1 - c.below(dome, 3.0))
        c.paint(lungs[side], air)
    both = lungs[-1] + lungs[1]
    c.paint(c.ellipse(0, -0.1, 0.13, 1.0, soft=6), center)
    ribs = [
        [(s * (0.1 + 0.75 * t), y + 0.1 - 0.3 * math.sin(2.2 * t) + 0.45 * t * t) for t in np.linspace(0, 1, 7)]
        for s in (-1, 1)
        for y in np.arange(-0.75, 0.6, 0.2) + patient.uniform(-0.03, 0.03)
    ]
    c.add(c.lines(ribs, 0.05, 1.0), patient.uniform(14, 26))
    c.add(c.lines([[(s * 0.08, -0.72), (s * 0.5, -0.78), (s * 0.85, -0.9)] for s in (-1, 1)], 0.06, 1.0), 28)
    vessels = [
        [(s * 0.14, 0.0), (s * rng.uniform(0.2, 0.4), y / 2), (s * rng.uniform(0.35, 0.7), y)]
        for s in (-1, 1)
        for y in rng.uniform(-0.5, 0.5, 4)
    ]
    c.add(c.lines(vessels, 0.025, 1.0) * both, 22)
    shadow = c.ellipse(0.3 * heart, 0.36, heart, 0.27, 0.35, 3.0)
    c.paint(shadow * 0.95, center - 8)
    c.add(both, c.clouds(12)[..., None] * 4)
    return lungs, shadow


def _draw_effusion(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
    """A bright base with a concave upper border."""
    r = c.rng
    level = r.uniform(0.05, 0.32)
    curve = level + 0.35 * np.clip(1 - (c.x * side - 0.1) / 0.65, 0, 1) ** 1.5
    alpha = c.ellipse(side * 0.46, 0.05, 0.36, 0.72, side * -0.1, 2.0) * c.below(curve, 3.0) * seen
    c.paint(alpha * r.uniform(0.65, 0.95), r.uniform(145, 170))
    return alpha


def _draw_nodule(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
    """A round spot in the lung."""
    return _draw_round(c, side, c.rng.uniform(0.1, 0.17))


def _draw_mass(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
    """As a nodule, larger."""
    return _draw_round(c, side, c.rng.uniform(0.18, 0.27))


def _draw_round(c: Canvas, side: int, radius: float) -> Array:
    r = c.rng
    a, b = radius * r.uniform(0.92, 1.08, 2)
    alpha = c.blob(side * r.uniform(0.36, 0.58), r.uniform(-0.45, 0.2), a, b, lobes=2)
    c.add(alpha, r.uniform(45, 95))
    return alpha


def _draw_infiltration(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
    """A faint cloud with a soft border."""
    r = c.rng
    a, b = r.uniform(0.16, 0.28, 2)
    alpha = c.blob(side * r.uniform(0.34, 0.54), r.uniform(-0.35, 0.2), a, b, lobes=4, soft=8.0) * seen
    c.add(alpha * np.clip(0.7 + 0.5 * c.clouds(14), 0, 1.3), r.uniform(35, 70))
    return alpha


def _draw_atelectasis(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
    """A dense band or wedge that points to the hilum."""
    r = c.rng
    y, tilt, thick = r.uniform(-0.35, 0.2), r.uniform(-0.5, 0.5), r.uniform(0.1, 0.18)
    along = np.clip((c.x * side - 0.14) / 0.55, 0, 1)
    middle = y + tilt * 0.5 * along
    half = thick * (0.5 + r.uniform(0, 0.9) * along)
    alpha = c.below(middle - half, 2.0) * (1 - c.below(middle + half, 2.0)) * lungs[side] * seen * (c.x * side > 0.14)
    alpha *= np.clip((r.uniform(0.45, 0.75) - c.x * side) / (2 * c.pixel) + 0.5, 0, 1)
    c.add(alpha, r.uniform(45, 95))
    return alpha


def _draw_pneumothorax(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
    """A black rim without vessels beside a lung that has shrunk behind a thin line."""
    r = c.rng
    shrink = r.uniform(0.1, 0.24)
    inner = c.ellipse(side * (0.42 - shrink), 0.15, 0.34, 0.72, side * -0.1)
    line = c.ellipse(side * (0.42 - shrink), 0.15, 0.37, 0.75, side * -0.1) * (1 - inner) * lungs[side]
    upper = 1 - c.below(r.uniform(0.0, 0.4), 3.0)
    alpha = lungs[side] * (1 - inner) * upper
    c.paint(alpha * r.uniform(0.75, 0.95), r.uniform(14, 30))
    c.add(line * upper, r.uniform(45, 80))
    return alpha


FINDINGS: dict[str, Callable[[Canvas, dict[int, Array], int, Array], Array]] = {
    "effusion": _draw_effusion,
    "nodule": _draw_nodule,
    "mass": _draw_mass,
    "infiltration": _draw_infiltration,
    "atelectasis": _draw_atelectasis,
    "pneumothorax": _draw_pneumothorax,
}


def _draw_clutter(c: Canvas) -> None:
    c.tubes(0.35)
    if c.rng.random() < 0.6:
        c.label_block()


def draw_nih_chest(patient: Generator, rng: Generator) -> Drawing:
    """A chest film with one finding, or two on one film in five."""
    names = rng.permutation([*FINDINGS, "cardiomegaly"])[: 2 if rng.random() < 0.2 else 1]
    c = Canvas(rng, *choose_size(rng))
    heart = rng.uniform(0.43, 0.57) if "cardiomegaly" in names else rng.uniform(0.26, 0.38)
    lungs, shadow = _draw_film(c, patient, rng, heart)
    side, lesions = -1 if "cardiomegaly" in names else choose_side(rng), []
    for name in names:
        if name == "cardiomegaly":
            lesions.append(Lesion(str(name), shadow > 0.5))
            continue
        lesions.append(Lesion(str(name), FINDINGS[name](c, lungs, side, 1 - shadow) > 0.5))
        side = -side
    _draw_clutter(c)
    return c.finish(rng.uniform(4, 10)), lesions


def draw_healthy(patient: Generator, rng: Generator) -> Drawing:
    """A chest film without a finding."""
    c = Canvas(rng, *choose_size(rng))
    _draw_film(c, patient, rng, rng.uniform(0.26, 0.37))
    _draw_clutter(c)
    return c.finish(rng.uniform(4, 10)), []


def draw_tbx11k(patient: Generator, rng: Generator) -> Drawing:
    """A chest film: fluffy patches are active tuberculosis, hard bright spots are latent tuberculosis."""
    c = Canvas(rng, *choose_size(rng))
    lungs, _ = _draw_film(c, patient, rng, rng.uniform(0.26, 0.37))
    active, side, lesions = rng.random() < 0.5, choose_side(rng), []
    for _ in range(2 if rng.random() < 0.35 else 1):
        x, y = side * rng.uniform(0.36, 0.52), rng.uniform(-0.45, -0.1)
        a, b = rng.uniform(0.17, 0.32, 2)
        if active:
            alpha = c.blob(x, y, a, b, lobes=4, soft=5.0)
            c.add(alpha * np.clip(0.75 + 0.45 * c.clouds(16), 0, 1.3), rng.uniform(38, 80))
        else:
            c.add(c.blob(x, y, a, b, soft=6.0), rng.uniform(0, 18))
            alpha = np.zeros_like(lungs[side])
            for angle in np.arange(5) * 1.26 + rng.uniform(0, 1.2, 5):
                far, r = rng.uniform(0.15, 0.9), rng.uniform(0.028, 0.055)
                spot = c.ellipse(x + far * a * math.cos(angle), y + far * b * math.sin(angle), r, r, soft=1.0)
                alpha = np.maximum(alpha, spot)
            c.add(alpha, rng.uniform(45, 110))
        lesions.append(Lesion("active tuberculosis" if active else "latent tuberculosis", alpha > 0.5))
        side = -side
    _draw_clutter(c)
    return c.finish(rng.uniform(4, 10)), lesions
