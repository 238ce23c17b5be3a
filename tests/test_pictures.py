"""Outlines around boxes: what is inside stays as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from umed.boxes import Box
from umed.pictures import draw_boxes

COLOR = (255, 220, 0)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 200, (height, width, 3), dtype=np.uint8))


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
