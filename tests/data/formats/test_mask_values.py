"""The object of a mask by its values, colors or transparency: the right pixels, or a reason."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from items import boxes, draw, lost
from PIL import Image, ImageFilter
from scipy import ndimage

from umed.data.formats.mask_values import find_object
from umed.data.sources.folder import FolderSource

OBJECT, OTHER = (slice(10, 20), slice(12, 24)), (slice(28, 44), slice(40, 60))
VOC_PALETTE = [0, 0, 0, 128, 0, 0, *[9] * 250 * 3, *[0, 0, 0] * 3, 224, 224, 192]


def paint(first: float, second: float = 0, dtype: type = np.uint8, ground: float = 0) -> np.ndarray:
    values = np.full((48, 64), ground, dtype)
    values[OBJECT], values[OTHER] = first, second
    return values


def stack(*bands: np.ndarray | float) -> Image.Image:
    full = [np.broadcast_to(np.asarray(band, np.uint8), (48, 64)) for band in bands]
    return Image.fromarray(np.stack(full, -1))


def indexed(values: np.ndarray, palette: list[int]) -> Image.Image:
    picture = Image.fromarray(values).convert("P")
    picture.putdata(values.ravel().tolist())
    picture.putpalette(palette)
    return picture


def smooth(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values).filter(ImageFilter.GaussianBlur(2))


SHAPE = paint(255)
RING = ndimage.binary_dilation(SHAPE, iterations=2) & (SHAPE == 0)
KEPT: dict[str, Callable[[], Image.Image | np.ndarray]] = {
    **{f"{value}": lambda value=value: paint(value) for value in (1, 128, 200, 255)},
    "1 and ignored": lambda: paint(1, 255),
    "1 and ignored border": lambda: indexed(np.where(RING, 255, paint(1)), VOC_PALETTE),
    "16 bits": lambda: paint(65535, dtype=np.uint16),
    "16 bits, 1 and ignored": lambda: paint(1, 65535, np.uint16),
    "float": lambda: paint(1.0, dtype=np.float32),
    "smooth": lambda: smooth(paint(255)),
    "bits": lambda: Image.fromarray(SHAPE).convert("1"),
    "palette": lambda: indexed(paint(1, 255), VOC_PALETTE),
    "palette from white": lambda: indexed(paint(1, 3, ground=3), [9, 9, 9, 255, 255, 255, 7, 7, 7, 0, 0, 0]),
    "gray in color": lambda: stack(SHAPE, SHAPE, SHAPE),
    "red": lambda: stack(SHAPE, 0, 0),
    "maroon": lambda: stack(paint(128), 0, 0),
    "one color": lambda: stack(paint(20), paint(200), paint(7)),
    "alpha of white": lambda: stack(255, 255, 255, SHAPE),
    "alpha of black": lambda: stack(0, 0, 0, SHAPE),
    "opaque": lambda: stack(SHAPE, SHAPE, SHAPE, 255),
    "fully transparent": lambda: stack(SHAPE, SHAPE, SHAPE, 0),
    "cut out": lambda: stack(SHAPE, 0, 0, SHAPE),
    "gray and alpha": lambda: stack(SHAPE, 255),
    "alpha of gray": lambda: stack(80, SHAPE),
}
REFUSED: dict[str, Callable[[], Image.Image | np.ndarray]] = {
    **{f"only {value}": lambda value=value: paint(value) for value in (2, 7, 127)},
    "classes": lambda: paint(1, 2),
    "classes and ignored": lambda: np.maximum(paint(1, 2), np.eye(48, 64, dtype=np.uint8) * 255),
    "classes beyond 128": lambda: paint(100, 200),
    "gray classes": lambda: paint(128, 255),
    "instances of 16 bits": lambda: paint(1, 2, np.uint16),
    "instances up to 300": lambda: paint(150, 300, np.uint16),
    "negative": lambda: paint(1, -1, np.int32),
    "no number": lambda: paint(1, np.nan, np.float32),
    "probabilities": lambda: paint(0.9, 0.2, np.float32),
    "inverted": lambda: paint(0, 255, ground=255),
    "inverted indices": lambda: paint(0, 1, ground=1),
    "nothing but 1 and 255": lambda: paint(1, 255, ground=255),
    "white": lambda: paint(255, 255, ground=255),
    "colors": lambda: stack(paint(255), paint(0, 255), 0),
    "a color on white": lambda: stack(paint(255, ground=255), paint(0, ground=255), paint(0, ground=255)),
    "color and alpha": lambda: stack(SHAPE, SHAPE, SHAPE, paint(0, 255)),
    "black cut out": lambda: stack(paint(0, ground=255), 0, 0, SHAPE),
    "opaque white": lambda: stack(255, 255, 255, 255),
}


def picture_of(made: Image.Image | np.ndarray) -> Image.Image:
    return made if isinstance(made, Image.Image) else Image.fromarray(made)


@pytest.mark.parametrize("make", KEPT.values(), ids=KEPT)
def test_the_object_is_found(make: Callable[[], Image.Image | np.ndarray]) -> None:
    inside, value = find_object(picture_of(make()), lossy=False)
    rows, columns = np.nonzero(inside)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 19, 12, 23) and value > 0


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_what_is_no_mask_of_one_category_is_refused(make: Callable[[], Image.Image | np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"value|level|color|border"):
        find_object(picture_of(make()), lossy=False)


@pytest.mark.parametrize("black", [paint(0), paint(0, dtype=np.uint16), stack(0, 0, 0), stack(0, 0, 0, 255)])
def test_black_has_no_object(black: Image.Image | np.ndarray) -> None:
    inside, value = find_object(picture_of(black), lossy=False)
    assert not inside.any() and value == 0


@pytest.mark.parametrize(
    ("made", "is_kept"),
    [
        (paint(255), True),
        (stack(SHAPE, SHAPE, SHAPE), True),
        (smooth(SHAPE), True),
        (paint(60), False),
        (paint(128, 255), False),
        (stack(SHAPE, 0, 0), False),
        (stack(paint(255), paint(0, 255), 0), False),
        (paint(0, ground=255), False),
    ],
)
def test_jpeg_is_read_by_black_and_white(made: Image.Image | np.ndarray, is_kept: bool) -> None:
    for quality in (50, 75, 95):
        file = io.BytesIO()
        picture_of(made).save(file, "JPEG", quality=quality)
        with Image.open(file) as picture:
            if is_kept:
                inside, _ = find_object(picture, lossy=True)
                assert (inside == (SHAPE > 0)).mean() > 0.99
            else:
                with pytest.raises(ValueError, match=r"value|level|color|border"):
                    find_object(picture, lossy=True)


def test_255_as_object_beside_255_as_ignored_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for seed, (name, values) in enumerate({"a": paint(1, 255), "g": paint(255)}.items()):
        draw(tmp_path / f"images/{name}.png", seed, (64, 48))
        (tmp_path / "masks/polyp").mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(tmp_path / f"masks/polyp/{name}.png")
    with caplog.at_level(logging.WARNING):
        items = list(FolderSource(tmp_path, format="masks").read({}))
    assert boxes(items) == {f"images/{name}.png": [(12, 10, 24, 20)] for name in "ag"} and not lost(items)
    [line] = caplog.messages
    assert "polyp: the object is 255 in masks/polyp/g.png and 1 in masks/polyp/a.png" in line
