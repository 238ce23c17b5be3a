"""What the model sees: the lesion itself, and nothing that lies outside the source's folder."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umed.annotate.sent_picture import COLOR, SentPicture, sent_size
from umed.boxes import Box
from umed.errors import InputError
from umed.records import Record


def record(corners: tuple[float, ...], width: int = 391, height: int = 320, image: str = "a.png") -> Record:
    boxes = (Box.from_xyxy(corners, width, height),)
    return Record("s/1", "s", image, width, height, boxes, "cyst", "CT", "g")


def sent(one: Record, root: Path) -> Image.Image:
    kind, data = SentPicture(one, {"s": root}).url().split(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(
    ("corners", "scale"),
    [
        ((200, 100, 203, 102), 4),  # as far as there is room
        ((200, 100, 206, 106), 4),
        ((200, 100, 211, 109), 3),
        ((0, 311, 11, 320), 3),  # in the corner
        ((200, 100, 224, 124), 1),
        ((10, 10, 380, 300), 1),
    ],
)
def test_a_lesion_is_enlarged_and_all_of_it_is_seen(tmp_path: Path, corners: tuple[int, ...], scale: int) -> None:
    picture = Image.new("RGB", (391, 320), (60, 60, 60))
    picture.paste((200, 30, 30), corners)
    picture.save(tmp_path / "a.png")
    drawn = sent(record(corners), tmp_path)
    assert drawn.size == (391 * scale, 320 * scale) == sent_size(391, 320, record(corners).boxes)
    x0, y0, x1, y1 = (v * scale for v in corners)
    inside = np.asarray(drawn)[y0:y1, x0:x1].astype(int)
    assert inside.shape[:2] == (y1 - y0, x1 - x0) and (inside[..., 0] > inside[..., 1] + 30).all()  # red, not yellow
    yellow = (np.asarray(drawn) == COLOR).all(axis=-1)
    assert not yellow[y0:y1, x0:x1].any()
    assert yellow[y0:y1, x1 : x1 + 3].all() and yellow[max(0, y0 - 3) : y0, x0:x1].all()


@pytest.mark.parametrize("size", [(40, 30), (700, 20), (1500, 900), (1700, 900), (2048, 40), (3000, 1000), (9000, 4)])
def test_what_is_sent_has_the_size_that_is_reckoned_with(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size).save(tmp_path / "a.png")
    for corners in ((0, 0, *size), (1, 1, 3, 3)):
        one = record(corners, *size)
        found = sent(one, tmp_path).size
        assert found == sent_size(*size, one.boxes) and max(found) <= max(1600, min(max(size), 2048))


@pytest.mark.parametrize("image", ["../a.png", "link.png", "folder/a.png", "{root}/a.png", "folder\\..\\a.png"])
def test_a_picture_outside_is_not_sent(tmp_path: Path, image: str) -> None:
    root = tmp_path / "inner"
    root.mkdir()
    Image.new("L", (391, 320)).save(tmp_path / "a.png")
    (root / "link.png").symlink_to(tmp_path / "a.png")
    (root / "folder").symlink_to(tmp_path)
    with pytest.raises(InputError, match="a picture inside the source's folder is expected"):
        SentPicture(record((0, 0, 9, 9), image=image.format(root=tmp_path)), {"s": root})


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    Image.new("L", (391, 320)).save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    assert sent(record((0, 0, 30, 30), image="link.png"), tmp_path).size == (391, 320)
