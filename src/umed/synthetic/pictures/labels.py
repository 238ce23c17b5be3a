"""SYNTHETIC pictures of 28 x 28 pixels with one label of a few, in the manner of MedMNIST."""

from collections.abc import Callable

import numpy as np

from umed.synthetic.pictures.canvas import Array, Generator

_Y, _X = np.mgrid[:28, :28]
COLORS = ((190, 120, 90), (210, 150, 150), (140, 100, 60), (160, 90, 90), (60, 40, 40), (110, 70, 50), (170, 30, 60))


def _spot(rng: Generator, across: float, down: float) -> Array:
    x, y = rng.uniform(11, 17, 2)
    return ((_X - x) / across) ** 2 + ((_Y - y) / down) ** 2 < 1


def draw_skin(rng: Generator, label: int) -> Array:
    """A spot on skin, its color the class."""
    picture = rng.normal((225, 185, 165), 6, (28, 28, 3))
    picture[_spot(rng, *rng.uniform(4, 9, 2))] = COLORS[label]
    return np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255)


def draw_breast(rng: Generator, label: int) -> Array:
    """Dark spots in ultrasound: tall ones are malignant (0)."""
    picture = rng.normal(110, 25, (28, 28))
    size = rng.uniform(4, 6)
    picture[_spot(rng, size * (1.5 if label else 0.7), size * (0.7 if label else 1.5))] -= 80
    return np.clip(picture, 0, 255)


def draw_pneumonia(rng: Generator, label: int) -> Array:
    """Two dark lungs, one with a bright patch where there is pneumonia (1)."""
    picture = rng.normal(150, 8, (28, 28))
    for x in (8, 20):
        picture[((_X - x) / 5) ** 2 + ((_Y - 14) / 10) ** 2 < 1] = 60
    if label:
        picture[_spot(rng, 4, 4)] += 70
    return np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255)


DRAWERS: dict[str, Callable[[Generator, int], Array]] = {  # by the name of the set in MedMNIST
    "derma": draw_skin,
    "breast": draw_breast,
    "pneumonia": draw_pneumonia,
}
