"""DICOM files as pictures: rescaled values, the file's own window, the patient as an anonymous group."""

import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image


def is_dicom(start: bytes, path: Path | None = None) -> bool:
    """Whether a file that starts with these (at least 132) bytes is DICOM, by its magic number or its suffix."""
    return start[128:132] == b"DICM" or (path is not None and path.suffix.lower() in (".dcm", ".dicom"))


def read_stored(file: BinaryIO) -> Image.Image:
    """Rescaled values in mode F, or RGB.

    `info["window"]` is (low, high, 0) from the file's WindowCenter and WindowWidth, or 0 to 255 for 8 bits without
    them; `info["inverted"]`: low is white (MONOCHROME1). Raises ValueError: no DICOM picture, several frames, too
    large, or a compression for which no decoder is installed.
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
    except Exception as error:  # decoders of compressed files raise any type
        raise ValueError(f"DICOM: {error}") from None
    picture = Image.fromarray(values)
    picture.info["inverted"] = data.get("PhotometricInterpretation") == "MONOCHROME1"
    if window:
        picture.info["window"] = window
    return picture


def hash_patient(content: bytes) -> str:
    """A digest of the PatientID of a DICOM file, "" without one; can be found by trying all: no protection."""
    if not is_dicom(content):
        return ""
    import pydicom

    data = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=["PatientID"])
    number = str(data.get("PatientID") or "")
    return "patient-" + hashlib.sha256(number.encode()).hexdigest()[:16] if number else ""


def _window(data: Any) -> tuple[float, float, float] | None:
    center, width = data.get("WindowCenter"), data.get("WindowWidth")
    if center is not None and width is not None:
        # several windows come as a pydicom MultiValue, which is no list
        c, w = (float(v[0] if hasattr(v, "append") else v) for v in (center, width))
        if w > 0:
            return c - w / 2, c + w / 2, 0.0
    return (0.0, 255.0, 0.0) if int(data.BitsStored) <= 8 else None
