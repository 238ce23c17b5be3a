"""Pictures in and out: opening with the errors a reader expects, boxes drawn, contact sheets."""

import warnings
from collections.abc import Mapping, Sequence
from math import ceil, floor, isfinite, nan
from pathlib import Path
from typing import Any, BinaryIO

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
RULES = {"range": (0.0, 100.0), "percentile": (0.5, 99.5)}  # percentiles of a picture's values: its window
TRUE, PREDICTED = "#2ecc40", "#ff851b"  # colors of boxes: green, orange


def check_window(option: str, window: Any, offset: Any = 0.0) -> Window | str | None:
    """A window, one of RULES to find each picture's own, or None. Raises InputError: anything else."""
    if window is None or (isinstance(window, str) and window in RULES):
        return window
    try:
        low, high = (float(v) for v in (() if isinstance(window, str) else window))
        values = low, high, float(offset)
    except (TypeError, ValueError):
        values = nan, nan, nan
    if not all(map(isfinite, values)) or values[0] >= values[1]:
        raise InputError(f"{option}={window}: {', '.join(RULES)} or [low, high] with low < high is expected")
    return values


def open_picture(path: Path, window: Window | str | None = None, otherwise: str | None = None) -> Image.Image:
    """RGB as `read_stored` loads it: boxes refer to it; see `convert_to_rgb`. Raises InputError: none."""
    try:
        with path.open("rb") as file, read_stored(file, path) as picture:
            return convert_to_rgb(picture, window, otherwise)
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
    if dicom.is_dicom(start):
        return dicom.read_stored(file)
    try:
        picture = Image.open(file)
        # what a telephone stores behind its photograph is no frame of an animation
        frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
        if "LA;16B" in (tile[3] for tile in picture.tile):  # Pillow would cut it to 8 bits
            raise ValueError("16 bits of gray with transparency: store it without transparency")
        if frames == 1:
            tag = _read_orientation(picture) if picture.format == "TIFF" else 1  # gone when it is loaded
            picture.load()
            picture.info["views"] = (UNDO.get(tag, tag), _read_orientation(picture))
    except UnidentifiedImageError:  # its message names an object in memory
        if dicom.is_dicom(start, path):
            file.seek(0)
            return dicom.read_stored(file)
        kind = f" but {start[8:12]!r}, as HEIC of a telephone is: store a JPEG copy" if start[4:8] == b"ftyp" else ""
        raise ValueError(f"not a picture{kind}") from None
    except (*UNREADABLE, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise any type for damaged files
        raise ValueError(f"damaged ({type(error).__name__}: {error})") from None
    if frames > 1:
        raise ValueError(f"{frames} frames: one picture is expected")
    if picture.format == "TIFF" and picture.tag_v2.get(262) == 0 and is_deep(picture):  # type: ignore[attr-defined]
        picture.info["inverted"] = True  # WhiteIsZero; with 8 bits Pillow has turned it
    return picture


def _read_orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 also if it is none of these or cannot be read, as viewers take it."""
    try:
        tag = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises any type for damaged metadata
        return 1
    return tag if type(tag) is int and 1 <= tag <= 8 else 1


def is_deep(picture: Image.Image) -> bool:
    """Whether it has more than 8 bits a pixel, or is gray DICOM: its values are no gray levels."""
    return picture.mode.startswith(("I", "F"))


def convert_to_rgb(picture: Image.Image, window: Window | str | None, otherwise: str | None = None) -> Image.Image:
    """RGB; a deep picture through the window, with NaN as black, others as they are.

    `window`: see `check_window`; None = what a DICOM file says itself, or else the rule `otherwise`. The window that
    was used is `info["window"]`, unless the file's own. Raises ValueError: a deep picture and no window.
    """
    if not is_deep(picture):
        return drop_alpha(picture)
    gray = picture.info.get("gray") if window is None else None
    if gray is None:
        window = window or otherwise
        if window is None:
            raise ValueError(f"more than 8 bits a pixel (mode {picture.mode}): give a window or store an 8-bit copy")
        window = find_window(picture, window) if isinstance(window, str) else window
        gray = apply_window(np.asarray(picture), window)
    levels = np.rint(np.nan_to_num(gray)).astype(np.uint8)
    levels = 255 - levels if picture.info.get("inverted") else levels
    shown = Image.fromarray(np.where(np.isnan(gray), 0, levels).astype(np.uint8)).convert("RGB")
    if window is not None:
        shown.info["window"] = window
    return shown


def find_window(picture: Image.Image, rule: str) -> Window:
    """Where the values of a deep picture lie, by one of RULES. Raises ValueError: no value is finite."""
    values = np.asarray(picture, np.float64)
    counted = np.isfinite(values) & ~picture.info.get("padding", np.zeros(values.shape, bool))
    values = values[counted] if counted.any() else values[np.isfinite(values)]
    if not values.size:
        raise ValueError("no pixel has a finite value")
    low, high = np.percentile(values, RULES[rule])
    if low == high:  # nearly all pixels are alike
        low, high = values.min(), values.max()
    return float(low), float(high if low < high else low + max(1, abs(low))), 0.0


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
