"""Procedurally drawn, SYNTHETIC pictures in the manner of the five MAU sources.

A drawing function takes two generators, `patient` (same body in all pictures of a group) and `rng`, and returns the
picture and what is abnormal on it. Everything else on it (vessels, folds, tubes, labels) is normal anatomy or clutter.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from umed.synthetic.pictures.canvas import Drawing, Generator
from umed.synthetic.pictures.ct import draw_deeplesion, draw_kidney_stone
from umed.synthetic.pictures.endoscopy import draw_kvasir
from umed.synthetic.pictures.film import draw_healthy, draw_nih_chest, draw_tbx11k

PARTS: dict[str, tuple[str, Callable[[Generator, Generator], Drawing]]] = {
    "phantom_deeplesion": ("CT", draw_deeplesion),
    "phantom_kidney_stone": ("CT", draw_kidney_stone),
    "phantom_nih_chest": ("X-ray", draw_nih_chest),
    "phantom_tbx11k": ("X-ray", draw_tbx11k),
    "phantom_kvasir": ("Endoscopy", draw_kvasir),
}

CATEGORIES = ("bone", "kidney", "liver", "lung", "mediastinum", "soft tissue", "kidney stone", "effusion", "nodule",
              "mass", "infiltration", "atelectasis", "pneumothorax", "cardiomegaly", "active tuberculosis",
              "latent tuberculosis", "polyp")  # fmt: skip

# parts that have pictures without a finding too
CONTROLS: dict[str, Callable[[Generator, Generator], Drawing]] = {
    "phantom_kidney_stone": partial(draw_kidney_stone, is_normal=True),
    "phantom_nih_chest": draw_healthy,
    "phantom_tbx11k": draw_healthy,
    "phantom_kvasir": partial(draw_kvasir, is_normal=True),
}


def draw_control(part: str, seed: int, index: int) -> Drawing:
    """Normal picture `index` of a part, of a patient of its own."""
    number = list(PARTS).index(part)
    patient, rng = (np.random.default_rng([seed, number, k, index]) for k in (3, 4))
    return CONTROLS[part](patient, rng)


def draw(part: str, seed: int, index: int) -> tuple[Drawing, int]:
    """Picture `index` of a part and the number of its patient: a pure function of the three arguments.

    Each six pictures in a row belong to three patients, with one, two and three of them.
    """
    number = list(PARTS).index(part)
    block, place = divmod(index, 6)
    sizes = np.random.default_rng([seed, number, 0, block]).permutation([1, 2, 3])
    patient = 3 * block + int(np.searchsorted(np.cumsum(sizes), place, side="right"))
    body = np.random.default_rng([seed, number, 1, patient])
    return PARTS[part][1](body, np.random.default_rng([seed, number, 2, index])), patient
