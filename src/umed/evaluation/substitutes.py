"""Pictures shown instead of an item's own, to see whether a model looks: the baselines `black` and `shuffled`."""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from PIL import Image

Shown = Literal["own", "black", "shuffled"]  # the picture itself, a black one of its size, that of another item


def substitute_picture(picture: Image.Image, shown: Shown) -> Image.Image:
    """The picture, or a black one of its size."""
    return Image.new("RGB", picture.size) if shown == "black" else picture


def exchange_pictures(parts: Sequence[str], pictures: Sequence[str], seed: int = 0) -> list[int]:
    """For each item, the position of an item of its part whose picture it is shown instead of its own.

    The distinct pictures of a part are put in a ring in random order and each is replaced by the next: every picture
    is another one, and is shown as often as before. A part with one picture keeps it.

    Args:
        parts: what each item belongs to: its data set or source.
        pictures: the picture of each item; the same name in a part is the same picture.
    """
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for place, (part, picture) in enumerate(zip(parts, pictures, strict=True)):
        first[part].setdefault(picture, place)
    following: dict[tuple[str, str], int] = {}
    for part, places in first.items():
        ring = list(places)
        random.Random(f"{seed} {part}").shuffle(ring)
        for picture, replacement in zip(ring, [*ring[1:], ring[0]], strict=True):
            following[part, picture] = places[replacement]
    return [following[key] for key in zip(parts, pictures, strict=True)]
