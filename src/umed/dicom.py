"""DICOM files as pictures: rescaled values, the file's own window, the patient as an anonymous group."""

import hashlib
import io
from typing import Any, BinaryIO

import numpy as np
from PIL import Image


def stored(file: BinaryIO) -> Image.Image:
    """Rescaled values in mode F, or RGB; `info["window"]` = low, high, 0 from the file's WindowCenter and WindowWidth.

    `info["inverted"]`: low is white (MONOCHROME1). 8-bit pictures without a window get 0 to 255.

    Raises:
        ValueError: no DICOM picture, several frames, too large, or a compression for which no decoder is installed.
    """
    import pydicom
    from pydicom.pixels import apply_rescale

    try:
        data = pydicom.dcmread(file)
        frames, area = int(data.get("NumberOfFrames") or 1), int(data.Rows) * int(data.Columns)
        if frames > 1:
            raise ValueError(f"{frames} frames: one picture is expected")
        if Image.MAX_IMAGE_PIXELS and area > Image.MAX_IMAGE_PIXELS:
            raise ValueError(f"{area} pixels: more than a picture may have")
        pixels = data.pixel_array
        if pixels.ndim == 3:
            return Image.fromarray(pixels.astype(np.uint8))
        values = np.asarray(apply_rescale(pixels, data), np.float32)
        window = _window(data)
    except ValueError:
        raise
    except Exception as error:  # the decoders of compressed files raise whatever they like
        raise ValueError(f"DICOM: {error}") from None
    picture = Image.fromarray(values)
    picture.info["inverted"] = data.get("PhotometricInterpretation") == "MONOCHROME1"
    if window:
        picture.info["window"] = window
    return picture


def patient(content: bytes) -> str:
    """A digest of the PatientID of a DICOM file, "" without one: groups need the patient, nobody needs the name.

    It hides the number from the eye only: who knows the form of a hospital's numbers can try them all.
    """
    import pydicom

    if content[128:132] != b"DICM":
        return ""
    data = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=["PatientID"])
    number = str(data.get("PatientID") or "")
    return "patient-" + hashlib.sha256(number.encode()).hexdigest()[:16] if number else ""


def _window(data: Any) -> tuple[float, float, float] | None:
    center, width = data.get("WindowCenter"), data.get("WindowWidth")
    if center is not None and width is not None:
        c, w = (float(v[0] if isinstance(v, list | tuple) or hasattr(v, "append") else v) for v in (center, width))
        if w > 0:
            return c - w / 2, c + w / 2, 0.0
    return (0.0, 255.0, 0.0) if int(data.BitsStored) <= 8 else None
