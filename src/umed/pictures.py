"""Pictures in and out: opening with the errors a reader expects, boxes drawn, contact sheets."""

import warnings
from collections.abc import Mapping, Sequence
from math import ceil, floor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont, UnidentifiedImageError

from umed import dicom
from umed.boxes import Box
from umed.errors import InputError
from umed.records import Record

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)
# set once: warning filters belong to the process, and several threads open pictures
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
READABLE_SIDE = 320  # pixels; smaller pictures are enlarged before anything is drawn on them
Color = str | tuple[int, int, int]
Window = tuple[float, float, float]  # low, high, offset: see `Record.window`
Views = tuple[int, int]  # EXIF orientations that make the stored and the shown picture of the loaded one
UNDO = {6: 8, 8: 6}  # EXIF orientation -> the one that turns it back; the others turn themselves back
TRUE, PREDICTED = "#2ecc40", "#ff851b"  # colors of boxes: green, orange


def open_picture(path: Path, window: Window | None = None) -> Image.Image:
    """RGB as `read_stored` loads it: boxes refer to it. Raises InputError: none, or > 8 bits without window."""
    try:
        with path.open("rb") as file, read_stored(file, path) as picture:
            return convert_to_rgb(picture, window)
    except FileNotFoundError:
        raise InputError(f"no picture {path}: check the path and the root of its source") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable picture ({error}): replace or remove it") from None


def picture_of(record: Record, roots: Mapping[str, Path]) -> Image.Image:
    """The record's picture, RGB; see `open_picture`."""
    return open_picture(Path(roots[record.source]) / record.image, record.window)


def read_stored(file: BinaryIO, path: Path) -> Image.Image:
    """The picture in its file's mode; DICOM: see `dicom.read_stored`. Raises UNREADABLE: none, animated, too large.

    It is not turned by its EXIF orientation, unless it is a TIFF, which Pillow turns; `info["views"]` are its `Views`.
    """
    start = file.read(132)
    file.seek(0)
    if dicom.is_dicom(start, path):
        return dicom.read_stored(file)
    try:
        picture = Image.open(file)
        frames = getattr(picture, "n_frames", 1)
        if frames == 1:
            tag = _read_orientation(picture) if picture.format == "TIFF" else 1  # gone when it is loaded
            picture.load()
            picture.info["views"] = (UNDO.get(tag, tag), _read_orientation(picture))
    except UnidentifiedImageError:  # its message names an object in memory
        raise ValueError("not a picture") from None
    except (*UNREADABLE, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise any type for damaged files
        raise ValueError(f"damaged ({type(error).__name__}: {error})") from None
    if frames > 1:
        raise ValueError(f"{frames} frames: one picture is expected")
    return picture


def _read_orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 also if it is none of these or cannot be read, as viewers take it."""
    try:
        tag = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises any type for damaged metadata
        return 1
    return tag if type(tag) is int and 1 <= tag <= 8 else 1


def convert_to_rgb(picture: Image.Image, window: Window | None) -> Image.Image:
    """RGB; more than 8 bits through the window, 8 bits as they are. Raises ValueError: > 8 bits and no window."""
    if not picture.mode.startswith(("I", "F")):
        return drop_alpha(picture)
    window = window or picture.info.get("window")
    if window is None:
        raise ValueError(f"more than 8 bits a pixel (mode {picture.mode}): give a window or store an 8-bit copy")
    levels = np.rint(apply_window(np.asarray(picture), window)).astype(np.uint8)
    levels = 255 - levels if picture.info.get("inverted") else levels
    return Image.fromarray(levels).convert("RGB")


def drop_alpha(picture: Image.Image) -> Image.Image:
    """RGB with the stored colors, whatever their transparency."""
    return (picture.convert("RGBA") if "transparency" in picture.info else picture).convert("RGB")


def apply_window(values: np.ndarray, window: Window) -> np.ndarray:
    """Gray levels in [0, 255]: clip((value + offset - low) / (high - low), 0, 1) * 255."""
    low, high, offset = window
    return np.clip((values.astype(np.float64) + offset - low) / (high - low), 0, 1) * 255


def draw_boxes(
    image: Image.Image, boxes: Sequence[Box], color: Color, label: str | None = None, width: int = 2, scale: int = 1
) -> Image.Image:
    """A copy, enlarged `scale` times or more if small; outlines lie outside the boxes, cut at the picture's border."""
    scale = max(scale, -(-READABLE_SIDE // max(image.size)))
    copy = image.convert("RGB").resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    draw, font = ImageDraw.Draw(copy), ImageFont.load_default(14)
    for box in boxes:
        # whole pixels that the box touches; 1e-6 absorbs rounding (0.1 * 30 > 3)
        corners = box.to_xyxy(*copy.size)
        x0, y0, x1, y1 = (*(floor(v + 1e-6) for v in corners[:2]), *(ceil(v - 1e-6) for v in corners[2:]))
        draw.rectangle((x0 - width, y0 - width, x1 - 1 + width, y1 - 1 + width), outline=color, width=width)
        if label:
            long, high = draw.textbbox((0, 0), label, font=font)[2:]
            left = max(0, min(x0, copy.width - long - 2))
            above, below = y0 - width - high - 3, min(y1 + width, copy.height - high - 2)
            top = above if above >= 0 else below
            draw.rectangle((left, top, left + long + 2, top + high + 2), fill="black")
            draw.text((left + 1, top), label, fill=color, font=font)
    return copy


def contact_sheet(
    images: Sequence[Image.Image], captions: Sequence[str], title: str, columns: int = 4, cell: int = 256
) -> Image.Image:
    """Pictures in rows of `columns`, each in a square of `cell` pixels with its caption above."""
    line, margin = 22, 8
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (cell + margin) + margin, rows * (cell + line + margin) + 2 * line), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, 8), title, fill="black", font=ImageFont.load_default(18))
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = margin + k % columns * (cell + margin), 2 * line + k // columns * (cell + line + margin)
        draw.text((left, top), caption, fill="black", font=ImageFont.load_default(14))
        scale = cell / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        sheet.paste(image.resize(size, Image.Resampling.LANCZOS), (left, top + line))
    return sheet
