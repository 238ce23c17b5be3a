"""The picture as it is sent: its boxes drawn, small ones enlarged, large ones reduced."""

import base64
import hashlib
import io
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath

from PIL import Image

from umed.errors import InputError
from umed.pictures import READABLE_SIDE, draw_boxes, picture_of
from umed.records import Record

MOST = 2048  # pixels of the longer side: what the endpoint would reduce it to
COLOR = (255, 220, 0)


class SentPicture:
    """A record's picture; encoded when it is asked for.

    Raises:
        InputError: no picture, no readable one, or one outside its source's folder.
    """

    def __init__(self, record: Record, roots: Mapping[str, Path]) -> None:
        self._record, picture = record, _picture(record, roots)
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
        draw_boxes(self._picture, self._record.boxes, COLOR, width=3).save(file, "PNG")
        return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _picture(record: Record, roots: Mapping[str, Path]) -> Image.Image:
    path = PurePosixPath(record.image.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:  # a records file is not to be trusted with other files
        raise InputError(f"{record.image}: a path inside the source's folder is expected")
    return picture_of(record, roots)


def sent_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of what is sent of a picture of this size."""
    scale = max(1, -(-READABLE_SIDE // max(width, height))) if max(width, height) <= MOST else MOST / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
