"""SYNTHETIC CT slices: torso, abdomen, thorax, and what is abnormal in them."""

import math

import numpy as np

from umed.synthetic.pictures.canvas import Canvas, Drawing, Generator, Lesion, choose_side, choose_size


def _draw_torso(c: Canvas, patient: Generator) -> None:
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


def _draw_abdomen(c: Canvas, patient: Generator, rng: Generator) -> dict[int, tuple[float, float]]:
    """Liver, bowel, aorta and kidneys; returns the kidneys' centers by side."""
    _draw_torso(c, patient)
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


def _draw_thorax(c: Canvas, patient: Generator, rng: Generator) -> None:
    """Lungs with vessels, heart and great vessels."""
    _draw_torso(c, patient)
    air = patient.uniform(22, 42)
    for side in (-1, 1):
        c.paint(c.ellipse(side * 0.46, 0.02, 0.36, 0.6, side * -0.12), air)
    c.paint(c.ellipse(0.1, -0.2, 0.26, 0.3, 0.4), patient.uniform(110, 130))
    for _ in range(8):
        side, r = choose_side(rng), rng.uniform(0.015, 0.04)
        c.paint(c.ellipse(side * rng.uniform(0.2, 0.7), rng.uniform(-0.4, 0.4), r, r), rng.uniform(80, 120))


def draw_deeplesion(patient: Generator, rng: Generator) -> Drawing:
    """A CT slice with one lesion; the category is the organ in which it sits."""
    category = str(rng.choice(["bone", "kidney", "liver", "lung", "mediastinum", "soft tissue"]))
    side, zoom = choose_side(rng), rng.uniform(1.15, 1.75)
    place = {
        "bone": (rng.uniform(-0.06, 0.06), 0.52 + rng.uniform(-0.05, 0.08)),
        "kidney": (side * rng.uniform(0.46, 0.6), rng.uniform(0.22, 0.5)),
        "liver": (rng.uniform(-0.65, -0.2), rng.uniform(-0.35, 0.1)),
        "lung": (side * rng.uniform(0.28, 0.6), rng.uniform(-0.3, 0.35)),
        "mediastinum": (rng.uniform(-0.16, 0.2), rng.uniform(-0.42, 0.12)),
    }
    angle = rng.uniform(-0.8, 0.8) + math.pi * (side < 0)
    place["soft tissue"] = (0.86 * math.cos(angle), 0.75 * math.sin(angle))
    if category == "bone" and rng.random() < 0.4:
        place["bone"] = (0.8 * math.cos(angle), 0.7 * math.sin(angle))
    x, y = place[category]
    room = max(0.0, 1 - 1 / zoom)
    shift = rng.uniform(-0.3, 0.3, 2) / zoom
    center = (float(np.clip(x + shift[0], -room, room)), float(np.clip(y + shift[1], -room, room)))
    c = Canvas(rng, *choose_size(rng), center=center, zoom=zoom)
    if category in ("lung", "mediastinum") or (category in ("bone", "soft tissue") and rng.random() < 0.5):
        _draw_thorax(c, patient, rng)
    else:
        _draw_abdomen(c, patient, rng)
    c.add(c.ellipse(0, 0, 0.9, 0.8), c.clouds(9)[..., None] * 3)
    low, high = {"liver": (0.12, 0.28), "lung": (0.1, 0.26)}.get(category, (0.11, 0.2))
    a, b = rng.uniform(low, high, 2)
    alpha = c.blob(x, y, a, b)
    change = rng.uniform(28, 58) * (1 if rng.random() < 0.3 else -1)
    if category == "bone":
        c.paint(c.blob(x, y, 1.25 * a, 1.25 * b), rng.uniform(170, 215))
        c.paint(alpha, rng.uniform(95, 135))
    elif category == "lung":
        c.paint(alpha, rng.uniform(75, 130))
    elif category == "soft tissue":
        c.paint(alpha, rng.uniform(105, 150) if rng.random() < 0.7 else rng.uniform(25, 45))
    else:
        c.add(alpha, change)
    if rng.random() < 0.5:
        c.label_block()
    return c.finish(rng.uniform(4, 10)), [Lesion(category, alpha > 0.5)]


def draw_kidney_stone(patient: Generator, rng: Generator, is_normal: bool = False) -> Drawing:
    """A CT slice with one to three stones in the kidneys, or none."""
    side, zoom = choose_side(rng), rng.uniform(1.1, 2.0)
    room = 1 - 1 / zoom
    center = (side * min(room, rng.uniform(0.1, 0.5)), min(room, rng.uniform(0.1, 0.4)))
    c = Canvas(rng, *choose_size(rng), center=center, zoom=zoom)
    kidneys = _draw_abdomen(c, patient, rng)
    for _ in range(int(rng.integers(0, 3))):  # calcified vessels and tablets are no stones
        x, y = rng.uniform(-0.5, 0.7), rng.uniform(-0.5, 0.0)
        c.paint(c.ellipse(x, y, 0.025, 0.025), rng.uniform(170, 230))
    bright, stones, taken = rng.uniform(215, 255), [], list[tuple[float, float]]()
    for _ in range(0 if is_normal else int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))):
        which = side if zoom > 1.3 or rng.random() < 0.7 else -side
        for _ in range(20):
            x = kidneys[which][0] + which * rng.uniform(-0.05, 0.13)
            y = kidneys[which][1] + rng.uniform(-0.2, 0.2)
            x, y = (min(max(v, m - 0.8 / zoom), m + 0.8 / zoom) for v, m in zip((x, y), center, strict=True))
            a, b = rng.uniform(0.1, 0.18, 2) / zoom
            if all(max(abs(x - u), abs(y - v)) > 0.3 / zoom for u, v in taken):
                alpha = c.blob(x, y, a, b, lobes=2, soft=1.5)
                c.paint(alpha, bright)
                stones.append(Lesion("kidney stone", alpha > 0.5))
                taken.append((x, y))
                break
    if rng.random() < 0.5:
        c.label_block()
    return c.finish(rng.uniform(4, 12)), stones
