"""Outlines around boxes: what is inside stays as it was; sheets; and what cannot be opened."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from umed.boxes import Box
from umed.errors import InputError
from umed.pictures import check_window, contact_sheet, draw_boxes, open_picture

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


def png_of_16_bits(values: np.ndarray, color_type: int) -> bytes:
    """A file as no Pillow writes it. `values`: rows, columns, channels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_pictures_that_cannot_be_opened(tmp_path: Path) -> None:
    gray = Image.new("L", (640, 480), 9)
    gray.save(tmp_path / "whole.jpg")
    Image.new("I;16", (4, 4)).save(tmp_path / "deep.png")
    for kind in ("gif", "webp", "tiff", "apng"):
        noise(8, 8).save(tmp_path / f"moving.{kind}", "PNG" if kind == "apng" else None, save_all=True,
                         append_images=[Image.new("RGB", (8, 8))])  # fmt: skip
    content = {
        "bad.png": (b"no", r"not a readable picture \(not a picture\)"),
        "cut.jpg": ((tmp_path / "whole.jpg").read_bytes()[:900], "truncated"),
        "heic.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC of a telephone is: store a JPEG copy"),
        "la.png": (png_of_16_bits(np.full((4, 4, 2), 40_000), 4), "16 bits of gray with transparency"),
    }
    for name, (data, _) in content.items():
        (tmp_path / name).write_bytes(data)
    told = {name: why for name, (_, why) in content.items()} | {
        "deep.png": "more than 8 bits",
        "none.png": "no picture",
    }
    told |= {f"moving.{kind}": "2 frames: one picture is expected" for kind in ("gif", "webp", "tiff", "apng")}
    for name, why in told.items():
        with pytest.raises(InputError, match=why):
            open_picture(tmp_path / name)


def test_pictures_of_8_bits_are_opened_as_they_are(tmp_path: Path) -> None:
    """Whatever the name says, and the second picture of a telephone."""
    picture, other = noise(64, 48), Image.new("L", (32, 24), 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "plain.jpg")
    plain = np.asarray(open_picture(tmp_path / "plain.jpg"))
    picture.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[other])
    picture.save(tmp_path / "turned.jpg", "MPO", save_all=True, append_images=[picture], exif=exif)
    for name in ("a.jpg", "turned.jpg"):
        assert np.array_equal(np.asarray(open_picture(tmp_path / name)), plain), name
    picture.save(tmp_path / "png.jpg", "PNG")
    assert np.array_equal(np.asarray(open_picture(tmp_path / "png.jpg")), np.asarray(picture))
    Image.new("RGBA", (4, 4), (1, 2, 3, 4)).save(tmp_path / "alpha.png")
    (tmp_path / "rgb16.png").write_bytes(png_of_16_bits(np.full((4, 4, 3), (257, 514, 771)), 2))
    for name in ("alpha.png", "rgb16.png"):
        assert open_picture(tmp_path / name).getpixel((0, 0)) == (1, 2, 3), name


RAMP = np.linspace(34_000, 46_000, 1024).reshape(32, 32)
HOT = np.where(np.arange(1024).reshape(32, 32) == 0, 65_535, RAMP)
RARE = np.where(np.arange(1024).reshape(32, 32) == 5, 9.0, 0)
DEEP: dict[str, tuple[Image.Image, dict[str, Any], str, list[float]]] = {
    # name: picture, options of saving, rule, the window that it finds
    "a.png": (Image.fromarray(RAMP.astype(np.uint16)), {}, "range", [34_000, 46_000]),
    "a.tiff": (Image.fromarray(RAMP.astype(np.uint16)), {}, "range", [34_000, 46_000]),
    "big.tiff": (Image.frombytes("I;16B", (32, 32), RAMP.astype(">u2").tobytes()), {}, "range", [34_000, 46_000]),
    "signed.tiff": (Image.fromarray((RAMP - 40_000).astype(np.int32)), {}, "range", [-6_000, 6_000]),
    "float.tiff": (Image.fromarray((RAMP / 1e5).astype(np.float32)), {}, "range", [0.34, 0.46]),
    "middle.png": (Image.fromarray(RAMP.astype(np.uint16)), {}, "percentile", [34_060, 45_940]),
    "hot.png": (Image.fromarray(HOT.astype(np.uint16)), {}, "percentile", [34_072, 45_952]),
    "rare.tiff": (Image.fromarray(RARE.astype(np.float32)), {}, "percentile", [0, 9]),
    "alike.png": (Image.fromarray(np.full((32, 32), 700, np.uint16)), {}, "percentile", [700, 1400]),
    "black.png": (Image.fromarray(np.zeros((32, 32), np.uint16)), {}, "range", [0, 1]),
    "negative.tiff": (Image.fromarray(RAMP.astype(np.uint16)), {"tiffinfo": {262: 0}}, "range", [34_000, 46_000]),
}


@pytest.mark.parametrize("name", DEEP)
def test_the_window_that_a_rule_finds(tmp_path: Path, name: str) -> None:
    picture, options, rule, found = DEEP[name]
    picture.save(tmp_path / name, **options)
    shown = open_picture(tmp_path / name, otherwise=rule)
    low, high, offset = shown.info["window"]
    assert [low, high] == pytest.approx(found, rel=1e-4) and offset == 0
    levels = np.clip((np.asarray(picture, float) - low) / (high - low), 0, 1) * 255
    wanted = 255 - levels if name == "negative.tiff" else levels
    assert np.abs(np.asarray(shown)[..., 0] - wanted).max() <= 0.5 + 1e-6
    assert np.asarray(open_picture(tmp_path / name, (low, high, 0), "range")).tolist() == np.asarray(shown).tolist()


def test_what_is_no_number_is_black(tmp_path: Path) -> None:
    values = RAMP.astype(np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    Image.fromarray(values).save(tmp_path / "a.tiff")
    for window in ("range", (34_000, 46_000, 0)):
        shown = np.asarray(open_picture(tmp_path / "a.tiff", window))[..., 0]
        assert shown[0, :3].tolist() == [0, 255, 0] and shown[-1, -1] == 255


def test_windows_are_checked() -> None:
    assert check_window("w", None) is None and check_window("w", "range") == "range"
    assert check_window("w", ["-5", 5.5], 2) == (-5, 5.5, 2)
    for window in ("12", "min", [1], [1, 2, 3], [5, 5], [6, 5], [0, float("nan")], 7, True, {}, ["a", "b"]):
        with pytest.raises(InputError, match=r"^w=.*: range, percentile or \[low, high\] with low < high is expected$"):
            check_window("w", window)
    with pytest.raises(InputError):
        check_window("w", [0, 1], "x")
