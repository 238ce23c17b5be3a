"""From the picture that a file's boxes are of to the stored one: copies of another size, and EXIF orientation."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from umed.boxes import Box, BoxError
from umed.pictures import UNDO, Views

ORIENTATIONS = ("stored", "shown")  # as `Views`
MakeBox = Callable[[float, float], Box]
_PROBE = Box(0, 0, 0.25, 0.5)  # no two of the eight turns put it in the same place


@dataclass(frozen=True, slots=True)
class Frame:
    """The picture that boxes of a file are of, as far as the file tells.

    `width`, `height`: its pixels, 0 = not stated, NaN = not stated and needed. `original`: another shape that a copy
    of the whole picture may have. `views`: of a mask, which is a picture itself; its pixels are its size.
    """

    width: float = 0
    height: float = 0
    original: tuple[float, float] | None = None
    views: Views | None = None

    @classmethod
    def parse(cls, width: object, height: object, *, needed: bool = False) -> Self:
        """From numbers or texts; None, "" and 0 = not stated. What is no number is NaN, which `place_box` refuses."""
        missing = math.nan if needed else 0
        return cls(_parse_side(width) or missing, _parse_side(height) or missing)


def place_box(
    make_box: MakeBox, frame: Frame, size: tuple[int, int], views: Views = (1, 1), orientation: str | None = None
) -> Box:
    """The box in the picture as it is loaded.

    A frame of another size must have the picture's aspect. With an EXIF orientation the frame may be that of the stored
    or of the shown picture: the `orientation` decides, or a size that only one of them has. The size of the stored one
    is no proof unless it is a mask's, since some programs state it beside boxes of the shown picture.

    Args:
        make_box: the box in a frame of this width and height.
        size: of the loaded picture.
        views: of the loaded picture.

    Raises:
        BoxError: that of `make_box`; `malformed`: another aspect, no size where one is needed, a doubt, or a box within
            the first pixel, as fractions are that were taken for pixels.
    """
    if not all(0 <= side < math.inf for side in (frame.width, frame.height)):
        raise BoxError("malformed", "no width and height of the picture that the box is of")
    mask_views = frame.views or (1, 1)

    def turn_back(box: Box, view: int) -> Box:
        return turn_box(turn_box(box, mask_views[view]), UNDO.get(views[view], views[view]))

    choices = [view for view, name in enumerate(ORIENTATIONS) if orientation in (None, name)]
    if turn_back(_PROBE, 0) == turn_back(_PROBE, 1):
        choices = [0]
    fitting = []
    for view in choices:
        seen = turn_size(size, views[view])
        stated = frame.width or seen[0], frame.height or seen[1]
        shapes = [stated] if frame.original is None else [stated, frame.original]
        if any(_is_copy(turn_size(shape, mask_views[view]), seen) for shape in shapes):
            fitting.append((view, stated))
    if not fitting:
        kind = "a mask" if frame.views else "boxes"
        sizes = f"{kind} of {frame.width or '?'}x{frame.height or '?'} pixels, the picture has {size[0]}x{size[1]}"
        raise BoxError("malformed", f"{sizes}: another aspect, so no copy that was only resized")
    view, (width, height) = fitting[0]
    if len(choices) == 2 and (len(fitting) == 2 or (view == 0 and frame.views is None)):
        raise BoxError(
            "malformed",
            "EXIF orientation: is the box of the picture as stored or as shown? Set the source's orientation to stored "
            "or shown, or store the picture without it",
        )
    box = make_box(width, height)
    if frame.views is None and min(width, height) > 1 and box.x1 * width <= 1 and box.y1 * height <= 1:
        raise BoxError("malformed", "the box lies in the first pixel: are its numbers fractions? Pixels are expected")
    return turn_back(box, view)


def turn_box(box: Box, tag: int) -> Box:
    """The box in the picture that the EXIF orientation (1 to 8) makes of its picture."""
    x0, y0, x1, y1 = (box.y0, box.x0, box.y1, box.x1) if tag >= 5 else (box.x0, box.y0, box.x1, box.y1)
    if tag in (2, 3, 6, 7):
        x0, x1 = 1 - x1, 1 - x0
    if tag in (3, 4, 7, 8):
        y0, y1 = 1 - y1, 1 - y0
    return Box(x0, y0, x1, y1)


def turn_size(size: tuple[float, float], tag: int) -> tuple[float, float]:
    return (size[1], size[0]) if tag >= 5 else size


def _is_copy(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether the sizes are of one aspect, each side of the smaller being rounded by less than a pixel."""
    return abs(one[0] * other[1] - one[1] * other[0]) < max(*one, *other)


def _parse_side(value: object) -> float:
    """0 = not stated, NaN = no number."""
    if value is None or value == "":
        return 0
    try:
        return math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
