"""SYNTHETIC endoscopic views."""

import numpy as np

from umed.synthetic.pictures.canvas import Array, Canvas, Drawing, Generator, Lesion, choose_side, choose_size


def draw_kvasir(patient: Generator, rng: Generator, is_normal: bool = False) -> Drawing:
    """An endoscopic view of mucosa with one or two polyps, or none."""
    c = Canvas(rng, *choose_size(rng), channels=3)
    pink = np.array([patient.uniform(175, 215), patient.uniform(95, 125), patient.uniform(75, 100)])
    c.level[:] = pink
    c.add(np.ones((c.height, c.width)), c.clouds(5)[..., None] * (14, 11, 9))
    lumen = rng.uniform(-0.6, 0.6, 2)
    far = np.hypot(c.x - lumen[0], c.y - lumen[1])
    warped = far + 0.08 * c.clouds(4)
    for k in range(int(rng.integers(2, 5))):
        ring = np.abs(warped - (0.35 + 0.33 * k + rng.uniform(0, 0.15)))
        c.add(np.clip(1 - ring / 0.09, 0, 1), np.array([-38, -30, -26]) * rng.uniform(0.4, 1))
    c.paint(c.ellipse(lumen[0], lumen[1], 0.25, 0.22, soft=18) * 0.85, (70, 28, 22))
    vessels = np.cumsum(rng.uniform(-0.25, 0.25, (4, 6, 2)), 1) + rng.uniform(-0.8, 0.8, (4, 1, 2))
    c.add(c.lines([[(x, y) for x, y in v.tolist()] for v in vessels], 0.015), (-22, -30, -22))
    count = 0 if is_normal else 2 if rng.random() < 0.25 else 1
    lesions = [Lesion("polyp", mask) for mask in _draw_polyps(c, count, pink)]
    spots = [(x, y, *rng.uniform(0.012, 0.05, 2), rng.uniform(0, 3)) for x, y in rng.uniform(-0.8, 0.8, (5, 2))]
    c.paint(np.maximum.reduce([c.ellipse(*spot) for spot in spots]), (250, 240, 235))
    for x, y in rng.uniform(-0.8, 0.8, (int(rng.integers(0, 4)), 2)):
        r = rng.uniform(0.06, 0.12)
        c.add(c.ellipse(x, y, r, r) - c.ellipse(x, y, 0.75 * r, 0.75 * r), (40, 45, 40))
    edge = np.hypot(c.x, c.y)
    c.level *= np.clip(1.25 - 0.45 * edge, 0, 1)[..., None]
    c.paint(np.clip((edge - rng.uniform(1.15, 1.35)) / 0.03, 0, 1), (6, 5, 6))
    return c.finish(rng.uniform(3, 8)), lesions


def _draw_polyps(c: Canvas, count: int, pink: Array) -> list[Array]:
    """Domes with light from the upper left and a shadow at the lower right; two lie on opposite sides."""
    r, masks = c.rng, []
    x, y = r.uniform(-0.5, 0.5, 2) if count == 1 else r.uniform(0.32, 0.5, 2) * (choose_side(r), choose_side(r))
    for _ in range(count):
        a, b = r.uniform(0.18, 0.4, 2) * (0.75 if count > 1 else 1)
        c.add(c.ellipse(x + 0.05, y + 0.08, 1.15 * a, 1.15 * b, soft=8), (-35, -30, -26))
        alpha = c.blob(x, y, a, b)
        light = np.clip(1 - np.hypot((c.x - x) / a + 0.35, (c.y - y) / b + 0.35) / 1.6, -0.3, 1)
        tone = pink + np.array([30, -36, -26]) * r.uniform(0.3, 1.2) + r.uniform(-8, 12)
        c.paint(alpha * 0.9, tone + (light * r.uniform(18, 50) - 10 + c.clouds(14) * 4)[..., None])
        masks.append(alpha > 0.5)
        x, y = -x, -y
    return masks
