"""Which pixels of a mask are the object, by the values, colors or transparency that it has."""

import numpy as np
from PIL import Image
from scipy import ndimage

from umed.pictures import drop_alpha

SET = 128  # of 255: levels from here on belong to the object
NOISE = 32  # JPEG changes black and white by less
PLATEAU = 3  # pixels on a side: smoothed edges have no square of one level between black and white
IGNORED = (255, 65535)  # beside 1: pixels that are not judged


def find_object(picture: Image.Image, lossy: bool) -> tuple[np.ndarray, int]:
    """Pixels of the object as booleans, and the value that they have (0 = there is none).

    The object is 1, beside 0 and perhaps 255 (not judged), or else the highest value, of 128 or more. `lossy`: JPEG.
    Raises ValueError: several values or colors; an object that fills the border, as that of an inverted mask does.
    """
    values = _select_band(picture, lossy)
    levels = np.unique(values)
    if not np.isfinite(levels).all() or levels[0] < 0:
        raise ValueError("a value that is negative or no number")
    top = levels[-1]
    if top == 0:
        return np.zeros(values.shape, bool), 0
    if not lossy and levels[0] == 0 and 1 in levels and set(levels[2:]) <= set(IGNORED):
        inside, top = values == 1, 1
    elif top < SET:
        raise ValueError(f"values up to {top:g}: a mask has 0 and 255, or 0 and 1")
    else:
        inside = values >= max(SET, top / 2)
        if _has_plateau(values, top, lossy):
            raise ValueError("regions of several levels: a mask has one category, as 0 and 255, or 0 and 1")
    border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if border.mean() > 0.75:
        raise ValueError("the object lies along the border: is the mask inverted? 0 is the background")
    return inside, int(top)


def _has_plateau(values: np.ndarray, top: float, lossy: bool) -> bool:
    """Whether some region has a level between black and the highest value."""
    margin = NOISE * lossy
    between = (values > margin) & (values < top - margin)
    side = PLATEAU + 2 * lossy
    spread = ndimage.maximum_filter(values, side) - ndimage.minimum_filter(values, side)
    return bool((between & (spread <= margin / 4)).any())


def _select_band(picture: Image.Image, lossy: bool) -> np.ndarray:
    """One value a pixel. Raises ValueError: several colors, or colors and transparency that differ."""
    if picture.mode in ("L", "1") or picture.mode[0] in "IF":
        return np.asarray(picture)
    if picture.mode == "P" and not any((picture.getpalette() or [0])[:3]):
        return np.asarray(picture)  # indices; 0 is black
    bands = np.asarray(picture.convert("RGBA"))
    color, alpha = np.asarray(drop_alpha(picture)).astype(np.int32), bands[..., 3]
    if np.ptp(alpha):
        if not np.ptp(color, axis=(0, 1)).any():
            return alpha
        if ((color.max(-1) > 0) != (alpha > 0)).any():
            raise ValueError("colors and transparency show different objects")
    if lossy:
        if (np.ptp(color, axis=-1) > 2 * NOISE).any():
            raise ValueError("colors: a mask has one category, as 0 and 255, or 0 and 1")
        return np.asarray(picture.convert("L"))
    if not np.ptp(color, axis=-1).any():
        return color[..., 0]
    codes = color @ [1 << 16, 1 << 8, 1]
    if np.count_nonzero(np.unique(codes)) > 1:
        raise ValueError("several colors: a mask has one category, as 0 and 255, or 0 and 1")
    return np.where(codes > 0, 255, 0)
