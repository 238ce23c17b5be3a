"""Procedurally drawn, SYNTHETIC pictures in the manner of the five MAU sources: one function each.

A function takes two generators, `patient` (same body in all pictures of a group) and `rng`, and returns the picture
and what is abnormal on it. `seen` is the part of a film that the heart leaves free. Everything else it draws (vessels, folds, tubes, labels) is normal anatomy or clutter.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from umed.data.phantom_canvas import Array, Canvas, Lesion

Drawing = tuple[Image.Image, list[Lesion]]
Generator = np.random.Generator


def _size(rng: Generator) -> tuple[int, int]:
    """Width and height, 96 to 168 pixels, aspect between 3:4 and 4:3."""
    long, aspect = int(rng.integers(128, 169)), rng.uniform(0.75, 1)
    short = max(96, math.ceil(long * aspect))
    return (long, short) if rng.random() < 0.5 else (short, long)


def _sign(rng: Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _torso(c: Canvas, patient: Generator) -> None:
    """Body wall, spine and ribs of an axial slice."""
    tissue = patient.uniform(85, 105)
    c.level[:] = 8
    c.paint(c.ellipse(0, 0, 0.97, 0.86), tissue - 35)
    c.paint(c.ellipse(0, 0, 0.89, 0.78), tissue)
    c.paint(c.ellipse(0, 0.52, 0.2, 0.2), patient.uniform(195, 225))
    c.paint(c.ellipse(0, 0.51, 0.14, 0.14), patient.uniform(150, 175))
    c.paint(c.ellipse(0, 0.7, 0.07, 0.06), tissue)
    angles = [k * 0.42 + patient.uniform(0, 0.15) for k in range(15)]
    ribs = [[(0.86 * math.cos(t), 0.75 * math.sin(t)) for t in (a, a + 0.08, a + 0.16)] for a in angles]
    c.paint(c.lines(ribs, 0.06), patient.uniform(185, 215))
    c.add(c.lines([[(-1.2, 0.97), (1.2, 0.97)]], 0.03), 90)


def _abdomen(c: Canvas, patient: Generator, rng: Generator) -> dict[int, tuple[float, float]]:
    """Liver, bowel, aorta and kidneys; returns the kidneys' centers by side."""
    _torso(c, patient)
    bowel = rng.uniform(-1, 1, (4, 2)) * (0.3, 0.25) + (0.4, -0.2)
    for x, y in bowel:
        c.paint(c.ellipse(x, y, rng.uniform(0.1, 0.2), rng.uniform(0.08, 0.16)), rng.choice([40, 75, 120, 150]))
    c.paint(c.ellipse(-0.4, -0.12, 0.5, 0.5, 0.3), patient.uniform(112, 130))
    c.paint(c.ellipse(0.05, 0.22, 0.08, 0.08), patient.uniform(115, 150))
    kidneys = {}
    for side in (-1, 1):
        x, y = side * patient.uniform(0.46, 0.52), patient.uniform(0.33, 0.43)
        c.paint(c.ellipse(x, y, 0.27, 0.34, side * 0.3, 4.0), 72)
        c.paint(c.ellipse(x, y, 0.2, 0.28, side * 0.3), patient.uniform(125, 155))
        c.paint(c.ellipse(x - side * 0.13, y, 0.1, 0.12, side * 0.3, 4.0), patient.uniform(65, 95))
        kidneys[side] = (x, y)
    return kidneys


def _thorax(c: Canvas, patient: Generator, rng: Generator) -> None:
    """Lungs with vessels, heart and great vessels."""
    _torso(c, patient)
    air = patient.uniform(22, 42)
    for side in (-1, 1):
        c.paint(c.ellipse(side * 0.46, 0.02, 0.36, 0.6, side * -0.12), air)
    c.paint(c.ellipse(0.1, -0.2, 0.26, 0.3, 0.4), patient.uniform(110, 130))
    for _ in range(8):
        side, r = _sign(rng), rng.uniform(0.015, 0.04)
        c.paint(c.ellipse(side * rng.uniform(0.2, 0.7), rng.uniform(-0.4, 0.4), r, r), rng.uniform(80, 120))


def deeplesion(patient: Generator, rng: Generator) -> Drawing:
    """A CT slice with one lesion; the category is the organ in which it sits."""
    category = str(rng.choice(["bone", "kidney", "liver", "lung"]))
    side, zoom = _sign(rng), rng.uniform(1.15, 1.75)
    place = {
        "bone": (rng.uniform(-0.06, 0.06), 0.52 + rng.uniform(-0.05, 0.08)),
        "kidney": (side * rng.uniform(0.46, 0.6), rng.uniform(0.22, 0.5)),
        "liver": (rng.uniform(-0.65, -0.2), rng.uniform(-0.35, 0.1)),
        "lung": (side * rng.uniform(0.32, 0.6), rng.uniform(-0.3, 0.35)),
    }
    if category == "bone" and rng.random() < 0.4:
        angle = rng.uniform(-0.8, 0.8) + math.pi * (side < 0)
        place["bone"] = (0.8 * math.cos(angle), 0.7 * math.sin(angle))
    x, y = place[category]
    room = max(0.0, 1 - 1 / zoom)
    shift = rng.uniform(-0.3, 0.3, 2) / zoom
    center = (float(np.clip(x + shift[0], -room, room)), float(np.clip(y + shift[1], -room, room)))
    c = Canvas(rng, *_size(rng), center=center, zoom=zoom)
    if category == "lung" or (category == "bone" and rng.random() < 0.5):
        _thorax(c, patient, rng)
    else:
        _abdomen(c, patient, rng)
    c.add(c.ellipse(0, 0, 0.9, 0.8), c.clouds(9)[..., None] * 3)
    low, high = {"bone": (0.12, 0.2), "kidney": (0.13, 0.22), "liver": (0.13, 0.3), "lung": (0.12, 0.28)}[category]
    a, b = rng.uniform(low, high, 2)
    alpha = c.blob(x, y, a, b)
    change = rng.uniform(22, 48) * (1 if rng.random() < 0.3 else -1)
    if category == "bone":
        c.paint(c.blob(x, y, 1.25 * a, 1.25 * b), rng.uniform(170, 215))
        c.paint(alpha, rng.uniform(95, 135))
    elif category == "lung":
        c.paint(alpha, rng.uniform(75, 130))
    else:
        c.add(alpha, change)
    if rng.random() < 0.5:
        c.label_block()
    return c.finish(rng.uniform(4, 10)), [Lesion(category, alpha > 0.5)]


def kidney_stone(patient: Generator, rng: Generator) -> Drawing:
    """A CT slice with one to three stones in the kidneys."""
    side, zoom = _sign(rng), rng.uniform(1.1, 2.0)
    room = 1 - 1 / zoom
    center = (side * min(room, rng.uniform(0.1, 0.5)), min(room, rng.uniform(0.1, 0.4)))
    c = Canvas(rng, *_size(rng), center=center, zoom=zoom)
    kidneys = _abdomen(c, patient, rng)
    for _ in range(int(rng.integers(0, 3))):  # calcified vessels and tablets are no stones
        x, y = rng.uniform(-0.5, 0.7), rng.uniform(-0.5, 0.0)
        c.paint(c.ellipse(x, y, 0.025, 0.025), rng.uniform(170, 230))
    bright, stones, taken = rng.uniform(195, 250), [], list[tuple[float, float]]()
    for _ in range(int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))):
        which = side if zoom > 1.3 or rng.random() < 0.7 else -side
        for _ in range(20):
            x, y = np.asarray(kidneys[which]) + (which * rng.uniform(-0.05, 0.13), rng.uniform(-0.2, 0.2))
            size = rng.uniform(0.09, 0.15, 2) / zoom
            if all(max(abs(x - u), abs(y - v)) > 0.3 / zoom for u, v in taken):
                alpha = c.blob(x, y, *size, lobes=2, soft=1.5)
                c.paint(alpha, bright)
                stones.append(Lesion("kidney stone", alpha > 0.5))
                taken.append((x, y))
                break
    if rng.random() < 0.5:
        c.label_block()
    return c.finish(rng.uniform(4, 12)), stones


def _film(c: Canvas, patient: Generator, rng: Generator, heart: float) -> tuple[dict[int, Array], Array]:
    """A chest film; returns the lungs by side of the picture (-1 left, 1 right) and the heart, of half width `heart`."""
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


def _effusion(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
    """A bright base with a concave upper border."""
    r = c.rng
    level = r.uniform(0.05, 0.32)
    curve = level + 0.35 * np.clip(1 - (c.x * side - 0.1) / 0.65, 0, 1) ** 1.5
    alpha = c.ellipse(side * 0.46, 0.05, 0.36, 0.72, side * -0.1, 2.0) * c.below(curve, 3.0) * seen
    c.paint(alpha * r.uniform(0.65, 0.95), r.uniform(145, 170))
    return alpha


def _nodule(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
    """A round spot in the lung."""
    r = c.rng
    a, b = r.uniform(0.13, 0.22) * r.uniform(0.9, 1.1, 2)
    alpha = c.blob(side * r.uniform(0.36, 0.58), r.uniform(-0.45, 0.2), a, b, lobes=2)
    c.add(alpha, r.uniform(35, 80))
    return alpha


def _atelectasis(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
    """A dense band or wedge that points to the hilum."""
    r = c.rng
    y, tilt, thick = r.uniform(-0.35, 0.2), r.uniform(-0.5, 0.5), r.uniform(0.1, 0.18)
    along = np.clip((c.x * side - 0.14) / 0.55, 0, 1)
    middle = y + tilt * 0.5 * along
    half = thick * (0.5 + r.uniform(0, 0.9) * along)
    alpha = c.below(middle - half, 2.0) * (1 - c.below(middle + half, 2.0)) * lungs[side] * seen * (c.x * side > 0.14)
    alpha *= np.clip((r.uniform(0.45, 0.75) - c.x * side) / (2 * c.pixel) + 0.5, 0, 1)
    c.add(alpha, r.uniform(40, 85))
    return alpha


def _pneumothorax(c: Canvas, lungs: dict[int, Array], side: int, seen: Array) -> Array:
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
    "effusion": _effusion,
    "nodule": _nodule,
    "atelectasis": _atelectasis,
    "pneumothorax": _pneumothorax,
}


def _clutter(c: Canvas) -> None:
    c.tubes(0.35)
    if c.rng.random() < 0.6:
        c.label_block()


def nih_chest(patient: Generator, rng: Generator) -> Drawing:
    """A chest film with one finding, or two on one film in five."""
    names = rng.permutation([*FINDINGS, "cardiomegaly"])[: 2 if rng.random() < 0.2 else 1]
    c = Canvas(rng, *_size(rng))
    heart = rng.uniform(0.44, 0.58) if "cardiomegaly" in names else rng.uniform(0.26, 0.37)
    lungs, shadow = _film(c, patient, rng, heart)
    side, lesions = -1 if "cardiomegaly" in names else _sign(rng), []
    for name in names:
        if name == "cardiomegaly":
            lesions.append(Lesion(str(name), shadow > 0.5))
            continue
        lesions.append(Lesion(str(name), FINDINGS[name](c, lungs, side, 1 - shadow) > 0.5))
        side = -side
    _clutter(c)
    return c.finish(rng.uniform(4, 10)), lesions


def tbx11k(patient: Generator, rng: Generator) -> Drawing:
    """A chest film: fluffy patches are active tuberculosis, hard bright spots are latent tuberculosis."""
    c = Canvas(rng, *_size(rng))
    lungs, _ = _film(c, patient, rng, rng.uniform(0.26, 0.37))
    active, side, lesions = rng.random() < 0.5, _sign(rng), []
    for _ in range(2 if rng.random() < 0.35 else 1):
        x, y = side * rng.uniform(0.36, 0.52), rng.uniform(-0.45, -0.1)
        a, b = rng.uniform(0.17, 0.32, 2)
        if active:
            alpha = c.blob(x, y, a, b, lobes=4, soft=5.0)
            c.add(alpha * np.clip(0.75 + 0.45 * c.clouds(16), 0, 1.3), rng.uniform(45, 90))
        else:
            c.add(c.blob(x, y, a, b, soft=6.0), rng.uniform(0, 18))
            alpha = np.zeros_like(lungs[side])
            for angle in np.arange(5) * 1.26 + rng.uniform(0, 1.2, 5):
                far, r = rng.uniform(0.15, 0.9), rng.uniform(0.028, 0.055)
                spot = c.ellipse(x + far * a * math.cos(angle), y + far * b * math.sin(angle), r, r, soft=1.0)
                alpha = np.maximum(alpha, spot)
            c.add(alpha, rng.uniform(60, 120))
        lesions.append(Lesion("active tuberculosis" if active else "latent tuberculosis", alpha > 0.5))
        side = -side
    _clutter(c)
    return c.finish(rng.uniform(4, 10)), lesions


def kvasir(patient: Generator, rng: Generator) -> Drawing:
    """An endoscopic view of mucosa with one or two polyps."""
    c = Canvas(rng, *_size(rng), channels=3)
    pink = np.array([patient.uniform(175, 215), patient.uniform(95, 125), patient.uniform(75, 100)])
    c.level[:] = pink
    c.add(np.ones((c.height, c.width)), c.clouds(5)[..., None] * (14, 11, 9))
    lumen = rng.uniform(-0.6, 0.6, 2)
    far = np.hypot(c.x - lumen[0], c.y - lumen[1])
    warped = far + 0.08 * c.clouds(4)
    for k in range(int(rng.integers(2, 5))):
        ring = np.abs(warped - (0.35 + 0.33 * k + rng.uniform(0, 0.15)))
        c.add(np.clip(1 - ring / 0.09, 0, 1), np.array([-38, -30, -26]) * rng.uniform(0.4, 1))
    c.paint(c.ellipse(*lumen, 0.25, 0.22, soft=18) * 0.85, (70, 28, 22))
    vessels = np.cumsum(rng.uniform(-0.25, 0.25, (4, 6, 2)), 1) + rng.uniform(-0.8, 0.8, (4, 1, 2))
    c.add(c.lines([[(x, y) for x, y in v.tolist()] for v in vessels], 0.015), (-22, -30, -22))
    lesions = [Lesion("polyp", mask) for mask in _polyps(c, 2 if rng.random() < 0.25 else 1, pink)]
    spots = [(x, y, *rng.uniform(0.012, 0.05, 2), rng.uniform(0, 3)) for x, y in rng.uniform(-0.8, 0.8, (5, 2))]
    c.paint(np.maximum.reduce([c.ellipse(*spot) for spot in spots]), (250, 240, 235))
    for x, y in rng.uniform(-0.8, 0.8, (int(rng.integers(0, 4)), 2)):
        r = rng.uniform(0.06, 0.12)
        c.add(c.ellipse(x, y, r, r) - c.ellipse(x, y, 0.75 * r, 0.75 * r), (40, 45, 40))
    edge = np.hypot(c.x, c.y)
    c.level *= np.clip(1.25 - 0.45 * edge, 0, 1)[..., None]
    c.paint(np.clip((edge - rng.uniform(1.15, 1.35)) / 0.03, 0, 1), (6, 5, 6))
    return c.finish(rng.uniform(3, 8)), lesions


def _polyps(c: Canvas, count: int, pink: Array) -> list[Array]:
    """Domes with light from the upper left and a shadow at the lower right; two lie on opposite sides."""
    r, masks = c.rng, []
    x, y = r.uniform(-0.5, 0.5, 2) if count == 1 else r.uniform(0.32, 0.5, 2) * (_sign(r), _sign(r))
    for _ in range(count):
        a, b = r.uniform(0.18, 0.4, 2) * (0.75 if count > 1 else 1)
        c.add(c.ellipse(x + 0.05, y + 0.08, 1.15 * a, 1.15 * b, soft=8), (-35, -30, -26))
        alpha = c.blob(x, y, a, b)
        light = np.clip(1 - np.hypot((c.x - x) / a + 0.35, (c.y - y) / b + 0.35) / 1.6, -0.3, 1)
        tone = pink + np.array([18, -10, -6]) * r.uniform(-0.2, 1.4) + r.uniform(-12, 18)
        c.paint(alpha * 0.9, tone + (light * r.uniform(25, 55) - 10 + c.clouds(14) * 4)[..., None])
        masks.append(alpha > 0.5)
        x, y = -x, -y
    return masks


PARTS: dict[str, tuple[str, Callable[[Generator, Generator], Drawing]]] = {
    "phantom_deeplesion": ("CT", deeplesion),
    "phantom_kidney_stone": ("CT", kidney_stone),
    "phantom_nih_chest": ("X-ray", nih_chest),
    "phantom_tbx11k": ("X-ray", tbx11k),
    "phantom_kvasir": ("Endoscopy", kvasir),
}


def draw(part: str, seed: int, index: int) -> tuple[Drawing, str]:
    """Picture `index` of a part and its patient: a pure function of the three arguments.

    Each six pictures in a row belong to three patients, with one, two and three of them.
    """
    number = list(PARTS).index(part)
    block, place = divmod(index, 6)
    sizes = np.random.default_rng([seed, number, 0, block]).permutation([1, 2, 3])
    patient = 3 * block + int(np.searchsorted(np.cumsum(sizes), place, side="right"))
    own = np.random.default_rng([seed, number, 1, patient])
    return PARTS[part][1](own, np.random.default_rng([seed, number, 2, index])), f"p{patient:05d}"
