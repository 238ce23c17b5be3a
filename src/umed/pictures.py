"""Pictures in and out: opening with the errors a reader expects, boxes drawn, contact sheets."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from umed.boxes import Box
from umed.errors import InputError

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
READABLE_SIDE = 320  # smaller pictures are enlarged before anything is drawn on them
Color = str | tuple[int, int, int]


def open_picture(path: Path) -> Image.Image:
    """RGB, as stored: never rotated by its EXIF tag, since boxes refer to the stored pixels.

    Raises:
        InputError: no file, no picture, or more than 8 bits a pixel.
    """
    try:
        with Image.open(path) as picture:
            check_depth(picture, path)
            return picture.convert("RGB")
    except FileNotFoundError:
        raise InputError(f"no picture {path}: check the path and the root of its source") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable picture ({error}): replace or remove it") from None


def check_depth(picture: Image.Image, path: Path) -> None:
    """Refuse what `convert("RGB")` would clip to white.

    Raises:
        InputError: more than 8 bits a pixel.
    """
    if picture.mode.startswith(("I", "F")):
        raise InputError(
            f"{path}: more than 8 bits a pixel (mode {picture.mode}): it needs a window; store an 8-bit copy"
        )


def draw_boxes(
    image: Image.Image, boxes: Sequence[Box], color: Color, label: str | None = None, width: int = 2
) -> Image.Image:
    """A copy with the boxes' outlines, enlarged if it is small; `label` stands at each box."""
    scale = max(1, -(-READABLE_SIDE // max(image.size)))
    copy = image.convert("RGB").resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    draw, font = ImageDraw.Draw(copy), ImageFont.load_default(14)
    for box in boxes:
        x0, y0, x1, y1 = box.to_xyxy(*copy.size)
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=color, width=width)
        if label:
            long, high = draw.textbbox((0, 0), label, font=font)[2:]
            left = max(0, min(x0, copy.width - long - 2))
            top = y0 - high - 2 if y0 > high + 2 else min(y1 + 1, copy.height - high - 2)
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
