"""What a model is shown instead of a picture, to see whether it looks: the sanity rows `black` and `shuffled`."""

import random
from collections import defaultdict
from collections.abc import Sequence

from PIL import Image

LOOKS = ("own", "black", "shuffled")  # the picture itself, a black one of its size, that of another item


def seen_as(picture: Image.Image, look: str) -> Image.Image:
    """The picture, or a black one of its size."""
    assert look in LOOKS, look
    return Image.new("RGB", picture.size) if look == "black" else picture


def exchanged(parts: Sequence[str], pictures: Sequence[str], seed: int = 0) -> list[int]:
    """For each item, another item of its part whose picture it is shown instead of its own.

    The distinct pictures of a part are put in a ring in random order, and each is replaced by the next: every picture
    is another one, and shown as often as one was. A part with one picture keeps it.

    Args:
        parts: of each item, what it belongs to: its data set or source.
        pictures: of each item; the same name in a part is the same picture.
    """
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for number, (part, picture) in enumerate(zip(parts, pictures, strict=True)):
        first[part].setdefault(picture, number)
    following: dict[tuple[str, str], int] = {}
    for part, own in first.items():
        ring = list(own)
        random.Random(f"{seed} {part}").shuffle(ring)
        for here, there in zip(ring, [*ring[1:], ring[0]], strict=True):
            following[part, here] = own[there]
    return [following[key] for key in zip(parts, pictures, strict=True)]
