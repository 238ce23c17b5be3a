"""DICOM files as pictures: what a stored pixel means by PS3.3 of the standard; the patient as an anonymous group."""

import hashlib
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

# without its preamble a file starts with a tag of group 0002 or 0008
_FIRST_TAG = re.compile(rb"(?:\x02\x00[\x00-\x03\x10]|\x08\x00[\x00\x01\x05\x06\x08\x12-\x18])\x00")
GRAY, PALETTE = ("MONOCHROME1", "MONOCHROME2"), "PALETTE COLOR"
COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # pydicom makes RGB of each
SAMPLES = dict.fromkeys((*GRAY, PALETTE), 1) | dict.fromkeys(COLOR, 3)  # a pixel
NEEDED = ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation")
PATIENT = "patient-"  # prefix of a group


def is_dicom(start: bytes, path: Path | None = None) -> bool:
    """Whether a file that starts with these (at least 132) bytes is DICOM, by its first bytes or its suffix."""
    by_suffix = path is not None and path.suffix.lower() in (".dcm", ".dicom")
    return start[128:132] == b"DICM" or _FIRST_TAG.match(start) is not None or by_suffix


def read_stored(file: BinaryIO) -> Image.Image:
    """8-bit RGB, or in mode F the values after the modality LUT (HU of CT), as `info` explains.

    `gray`: float levels from 0 to 255 as the file shows its values, without `inverted`; missing if it has more than 8
    bits and no view of its own. `inverted`: low is white. `padding`: mask of pixels that are no part of the picture.
    `patient`: see `hash_patient`, also of RGB. Raises ValueError: no DICOM picture, several frames, too large, or a
    color space or compression for which no decoder is installed.
    """
    try:
        data = _read_dataset(file)
        pixels = data.pixel_array
        _check_unused_bits(pixels, data)
        if data.PhotometricInterpretation in GRAY:
            picture = _make_gray(pixels, data)
        elif data.PhotometricInterpretation == PALETTE:
            picture = Image.fromarray(_apply_palette(pixels, data))
        else:
            picture = Image.fromarray(_scale(pixels, 2 ** int(data.BitsStored) - 1))
    except ValueError:
        raise
    except Exception as error:  # decoders of compressed files raise any type
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"DICOM: {text}; a compressed file can be stored uncompressed") from None
    picture.info["patient"] = hash_patient(str(data.get("PatientID") or ""))
    return picture


def read_size(file: BinaryIO) -> tuple[int, int]:
    """Width and height by the header. Raises ValueError: no DICOM picture."""
    import pydicom

    try:
        data = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        return int(data.Columns), int(data.Rows)
    except Exception as error:  # pydicom raises any type for what is none
        raise ValueError(f"neither whole DICOM nor another picture ({error})") from None


def hash_patient(number: str) -> str:
    """A digest of a PatientID, "" for an empty one; can be found by trying all: no protection."""
    number = number.strip()
    return PATIENT + hashlib.sha256(number.encode()).hexdigest()[:16] if number else ""


def _read_dataset(file: BinaryIO) -> Any:
    """The data set of one picture. Raises ValueError: none, or one whose pixels have no known meaning."""
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    try:
        data = pydicom.dcmread(file, force=True)
    except Exception as error:
        raise ValueError(f"neither whole DICOM nor another picture ({error})") from None
    needed = (*NEEDED, "BitsStored") if "PixelData" in data else NEEDED
    missing = [name for name in needed if data.get(name) is None]
    if missing or not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        if data.preamble is None and "SOPClassUID" not in data:
            raise ValueError("neither DICOM nor another picture")
        kind = getattr(data.get("SOPClassUID"), "name", "no SOPClassUID")
        raise ValueError(f"DICOM without a picture ({kind}; no {missing[0] if missing else 'pixels'})")
    if (frames := int(data.get("NumberOfFrames") or 1)) > 1:
        raise ValueError(f"{frames} frames: one picture is expected")
    data.NumberOfFrames = 1
    area, limit = int(data.Rows) * int(data.Columns), Image.MAX_IMAGE_PIXELS
    if limit and area > limit:
        raise ValueError(f"{area} pixels: more than a picture may have")
    meaning, samples = data.PhotometricInterpretation, int(data.SamplesPerPixel)
    # a supplemental palette colors some of the gray values
    is_mixed = meaning in GRAY and data.get("PixelPresentation") in ("COLOR", "MIXED")
    if SAMPLES.get(meaning) != samples or is_mixed:
        raise ValueError(f"DICOM: PhotometricInterpretation {meaning} of {samples} samples is not supported here")
    if "TransferSyntaxUID" not in data.file_meta:
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    _lift_functional_groups(data)
    for name in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"):
        if name in data and data[name].is_empty:
            del data[name]
    return data


def _check_unused_bits(pixels: np.ndarray, data: Any) -> None:
    """Raise ValueError if bits above BitsStored are set and HighBit says that they may belong to the pixel."""
    from pydicom.pixels import pixel_array

    is_contradiction = data.get("HighBit") not in (None, data.get("BitsStored", 0) - 1)
    if is_contradiction and not np.array_equal(pixels, pixel_array(data, correct_unused_bits=False)):
        raise ValueError(f"DICOM: HighBit {data.HighBit} contradicts BitsStored {data.BitsStored}")


def _lift_functional_groups(data: Any) -> None:
    """Put what an enhanced file says of its frame where other files say it."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (data.get(groups) or [])[:1]:
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for element in [e for item in (group.get(name) or [])[:1] for e in item]:
                    data.add(element)


def _scale(levels: np.ndarray, top: int) -> np.ndarray:
    """Levels from 0 to `top` as 8 bits."""
    return levels if levels.dtype == np.uint8 and top == 255 else np.rint(levels / top * 255).astype(np.uint8)


def _apply_palette(pixels: np.ndarray, data: Any) -> np.ndarray:
    """RGB of the color that the palette has for each pixel, whatever its transparency."""
    from pydicom.pixels import apply_color_lut

    entries, first, _ = data.RedPaletteColorLookupTableDescriptor
    entries = entries or 2**16
    word = "<u2" if data.original_encoding[1] else ">u2"
    for name in (f"{color}PaletteColorLookupTableData" for color in ("Red", "Green", "Blue", "Alpha")):
        if table := data.get(name):  # to 16 bits: `apply_color_lut` counts entries in the type of the table
            is_byte = len(table) < 2 * entries
            words = np.frombuffer(table[:entries] if is_byte else table, "u1" if is_byte else word)
            setattr(data, name, words.astype(np.uint16).tobytes())
    colors = apply_color_lut(np.arange(first, first + entries), data)[:, :3]
    colors = _scale(colors, 65535 if colors.max() > 255 else 255)  # some descriptors say 16 for tables of 8 bits
    return colors[np.clip(pixels.astype(np.int64) - first, 0, entries - 1)]


def _make_gray(pixels: np.ndarray, data: Any) -> Image.Image:
    """The picture in mode F, see `read_stored`."""
    from pydicom.pixels import apply_rescale

    # wide enough for the first entry of any table
    values = apply_rescale(pixels if pixels.dtype.kind == "f" else pixels.astype(np.int64), data)
    picture = Image.fromarray(values.astype(np.float32))
    is_negative = data.PhotometricInterpretation == "MONOCHROME1" or data.get("PresentationLUTShape") == "INVERSE"
    picture.info["inverted"] = is_negative
    padding = data.get("PixelPaddingValue", data.get("FloatPixelPaddingValue"))
    if padding is not None:
        low, high = sorted((padding, data.get("PixelPaddingRangeLimit", padding)))
        picture.info["padding"] = (pixels >= low) & (pixels <= high)
    if (gray := _apply_view(values, data)) is not None:
        picture.info["gray"] = gray
    return picture


def _apply_view(values: np.ndarray, data: Any) -> np.ndarray | None:
    """Levels from 0 to 255: by the VOI LUT, else the first valid window, else those of 8 bits as they are; or None."""
    from pydicom import Dataset
    from pydicom.pixels import apply_rescale, apply_voi, apply_windowing

    luts = data.get("VOILUTSequence")
    if luts and "LUTData" in luts[0]:
        entries, first, bits = luts[0].LUTDescriptor
        if first >= 2**15 and values.min() < 0:  # a negative number that was read as unsigned
            first -= 2**16
        luts[0].LUTDescriptor = [entries, 0, 16]  # `apply_voi` counts entries in this type
        places = np.clip(np.rint(values) - first, 0, (entries or 2**16) - 1).astype(np.int64)
        return apply_voi(places, data) / (2**bits - 1) * 255
    widths = np.atleast_1d(data.get("WindowWidth", ())).astype(float)[: np.size(data.get("WindowCenter", ()))]
    if (widths > 0).any():
        index = int(np.argmax(widths > 0))
        view = Dataset()  # without the rest of the data, the levels are those of 8 bits
        view.PhotometricInterpretation, view.BitsStored, view.PixelRepresentation = "MONOCHROME2", 8, 0
        for name in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
            if name in data and not data[name].is_empty:
                view.add(data[name])
        if widths[index] < 1 and view.get("VOILUTFunction", "LINEAR") == "LINEAR":
            view.VOILUTFunction = "LINEAR_EXACT"  # LINEAR is defined for widths from 1
        with np.errstate(over="ignore"):  # far below a sigmoid
            return apply_windowing(values, view, index)
    bits = data.get("BitsStored")
    if "PixelData" not in data or bits > 8 or data.get("ModalityLUTSequence"):
        return None
    lowest = -(2 ** (bits - 1)) if data.PixelRepresentation else 0
    low, high = sorted(apply_rescale(np.array([lowest, lowest + 2**bits - 1]), data))
    return (values - low) / (high - low) * 255 if low < high else None
