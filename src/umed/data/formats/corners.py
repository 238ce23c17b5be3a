"""Four numbers of a file and the convention in which they are meant."""

from collections.abc import Sequence

from umed.boxes import Box, BoxError
from umed.data.sources.files import finite

CONVENTIONS = ("xyxy", "xywh", "voc")


def numbers(cells: Sequence[object], count: int = 4) -> tuple[float, ...]:
    """The cells of a text file as finite numbers.

    Raises:
        BoxError: `malformed`: too few or too many, or no numbers.
    """
    try:
        found = finite(map(str, cells))
    except ValueError as error:
        raise BoxError("malformed", str(error)) from None
    if len(found) != count:
        raise BoxError("malformed", f"{count} numbers are expected, found {len(found)}")
    return found


def box_of(cells: Sequence[object], convention: str, width: int, height: int) -> Box:
    """The box of four cells in pixels of the stored picture.

    Args:
        convention: `xyxy`: 0-based, half-open; `xywh`: top-left corner and size; `voc`: 1-based corners, both inside.

    Raises:
        BoxError: no numbers, or no area inside the picture.
    """
    a, b, c, d = numbers(cells)
    if convention == "xywh":
        return Box.from_xywh((a, b, c, d), width, height)
    shift = convention == "voc"  # the pixel xmin starts at xmin - 1 and the pixel xmax ends at xmax
    return Box.from_xyxy((a - shift, b - shift, c, d), width, height)
