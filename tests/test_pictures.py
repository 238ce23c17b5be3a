"""Outlines around boxes: what is inside stays as it was; sheets; and what cannot be opened."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from umed.boxes import Box
from umed.errors import InputError
from umed.pictures import contact_sheet, draw_boxes, open_picture

COLOR = (255, 220, 0)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 200, (height, width, 3), dtype=np.uint8))


@settings(max_examples=30)
@given(
    st.tuples(*[st.integers(0, 39)] * 2), st.tuples(*[st.integers(1, 40)] * 2), st.integers(1, 3), st.integers(1, 12)
)
def test_no_pixel_of_the_box_is_drawn_on(
    corner: tuple[int, int], side: tuple[int, int], width: int, scale: int
) -> None:
    """Of all boxes in whole pixels, at the border too; the outline is `width` wide wherever there is room."""
    picture = noise(41, 43)
    x0, y0, x1, y1 = *corner, min(corner[0] + side[0], 41), min(corner[1] + side[1], 43)
    drawn = draw_boxes(picture, [Box.from_xyxy((x0, y0, x1, y1), 41, 43)], COLOR, width=width, scale=scale)
    factor = max(scale, 8)  # 43 px are enlarged to at least 320
    assert drawn.size == (41 * factor, 43 * factor)
    plain = np.asarray(draw_boxes(picture, [], COLOR, scale=scale))
    outline = np.zeros(plain.shape[:2], bool)
    left, top, right, bottom = (v * factor for v in (x0, y0, x1, y1))
    outline[max(0, top - width) : bottom + width, max(0, left - width) : right + width] = True
    outline[top:bottom, left:right] = False
    assert (np.asarray(drawn)[outline] == COLOR).all()
    assert (np.asarray(drawn)[~outline] == plain[~outline]).all()


@pytest.mark.parametrize("corners", [(0.5001, 0.5001, 0.5002, 0.5002), (0, 0, 1e-9, 1e-9), (1 - 1e-9, 0, 1, 1)])
def test_a_box_smaller_than_a_pixel_is_drawn(corners: tuple[float, float, float, float]) -> None:
    drawn = draw_boxes(noise(400, 400), [Box(*corners)], COLOR, width=1)
    assert (np.asarray(drawn) == COLOR).all(axis=-1).any()


def test_a_label_leaves_the_box_free_where_there_is_room() -> None:
    picture = noise(400, 400)
    for corners in ((100, 100, 200, 200), (100, 5, 200, 50), (100, 300, 200, 395)):
        drawn = draw_boxes(picture, [Box.from_xyxy(corners, 400, 400)], COLOR, label="cyst")
        assert drawn.crop(corners).tobytes() == picture.crop(corners).tobytes()
        unlabelled = draw_boxes(picture, [Box.from_xyxy(corners, 400, 400)], COLOR)
        assert drawn.tobytes() != unlabelled.tobytes()


def test_boxes_are_drawn_where_they_are() -> None:
    gray = Image.new("L", (40, 20), 90)
    drawn = draw_boxes(gray, [Box(0.25, 0.5, 0.75, 1)], (255, 0, 0), width=1)
    assert gray.size == (40, 20) and drawn.size == (320, 160)
    red = {(x, y) for x in range(320) for y in range(160) if drawn.getpixel((x, y)) == (255, 0, 0)}
    assert (min(x for x, _ in red), min(y for _, y in red)) == (79, 79)  # around the box: 80 <= x < 240, 80 <= y < 160
    assert (max(x for x, _ in red), max(y for _, y in red)) == (240, 159)
    labelled = draw_boxes(gray, [Box(0, 0, 1, 1)], (255, 0, 0), label="a long label that must stay inside")
    assert (
        labelled.size == (320, 160) and labelled.tobytes() != draw_boxes(gray, [Box(0, 0, 1, 1)], (255, 0, 0)).tobytes()
    )


def test_a_sheet_has_room_for_all() -> None:
    images = [Image.new("RGB", (50, 100), (10 * k, 0, 200)) for k in range(5)]
    sheet = contact_sheet(images, ["x"] * 5, "title", columns=2, cell=100)
    shown = {color for _, color in sheet.getcolors(1 << 24) or []}
    assert {(10 * k, 0, 200) for k in range(5)} <= shown


def test_pictures_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no")
    Image.new("I;16", (4, 4)).save(tmp_path / "deep.png")
    Image.new("RGBA", (4, 4), (1, 2, 3, 4)).save(tmp_path / "alpha.png")
    for name, why in {"bad.png": "not a readable", "deep.png": "more than 8 bits", "none.png": "no picture"}.items():
        with pytest.raises(InputError, match=why):
            open_picture(tmp_path / name)
    assert open_picture(tmp_path / "alpha.png").getpixel((0, 0)) == (1, 2, 3)
