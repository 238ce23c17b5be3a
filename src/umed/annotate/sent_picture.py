"""The picture as it is sent: outlines around boxes, enlarged for small ones; texts give stored coordinates."""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import ceil
from pathlib import Path

from PIL import Image

from umed.boxes import Box
from umed.data.files import Unusable, check_inside
from umed.errors import InputError
from umed.pictures import READABLE_SIDE, draw_boxes, picture_of
from umed.records import Record

MOST = 2048  # pixels of the longer side: what the endpoint would reduce it to
CLEAR, ROOM = 24, 1600  # pixels: a picture is enlarged until its boxes have such sides, but not beyond that side
COLOR = (255, 220, 0)


class SentPicture:
    """A record's picture; encoded when it is asked for. Raises InputError: see `picture_inside`."""

    def __init__(self, record: Record, roots: Mapping[str, Path]) -> None:
        self._record, picture = record, picture_inside(record, roots)
        self.hash = hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
        self._picture = picture

    def url(self) -> str:
        """As a data URL."""
        return self._url

    @cached_property
    def _url(self) -> str:
        if max(self._picture.size) > MOST:
            self._picture.thumbnail((MOST, MOST), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        boxes = self._record.boxes
        draw_boxes(self._picture, boxes, COLOR, width=3, scale=clear_scale(self._picture.size, boxes)).save(file, "PNG")
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def picture_inside(record: Record, roots: Mapping[str, Path]) -> Image.Image:
    """The record's picture. Raises InputError: none, none readable, or outside its source's folder, also by a link."""
    path = Path(record.image.replace("\\", "/"))
    try:
        if ".." in path.parts:
            raise Unusable("malformed", "it climbs")
        check_inside(roots[record.source], record.image)
    except Unusable:
        raise InputError(f"{record.image}: a picture inside the source's folder is expected: move it there") from None
    return picture_of(record, roots)


def clear_scale(size: tuple[int, int], boxes: Sequence[Box]) -> int:
    """How many times larger a picture of this size is to be, so that the smallest box can be seen."""
    return max(1, min(ceil(CLEAR / _smallest(size, boxes)), ROOM // max(size)))


def clear_side(size: tuple[int, int], boxes: Sequence[Box]) -> int:
    """The longest side that the picture needs, so that the smallest box can be seen; at most `ROOM`."""
    return min(ceil(max(size) * CLEAR / _smallest(size, boxes)), ROOM)


def _smallest(size: tuple[int, int], boxes: Sequence[Box]) -> float:
    """Pixels of the shortest side of any box; `CLEAR` of none."""
    sides = [min((b.x1 - b.x0) * size[0], (b.y1 - b.y0) * size[1]) for b in boxes]
    return min(sides, default=CLEAR) + 1e-6  # a side of 24 px may be a little less in floats


def sent_size(width: int, height: int, boxes: Sequence[Box] = ()) -> tuple[int, int]:
    """Width and height of what is sent of a picture of this size with these boxes."""
    most = max(width, height)
    scale = max(clear_scale((width, height), boxes), -(-READABLE_SIDE // most)) if most <= MOST else MOST / most
    return max(1, round(width * scale)), max(1, round(height * scale))
