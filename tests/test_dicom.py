"""DICOM files as pictures: what the standard says of a pixel, patients, and files that are none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from items import HEIGHT, SIZE, WIDTH
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from umed.data.sources.folder import FORMATS, FolderSource
from umed.errors import InputError
from umed.pictures import open_picture, picture_of
from umed.records import Dropped, Record

ABSENT = object()  # as the value of a tag
HEADER = "image,x0,y0,x1,y1,category\n"


def read(root: Path, name: str, **options: object) -> Record | Dropped:
    """What the only picture of a table becomes."""
    (root / "annotations.csv").write_text(f'{HEADER}"{name}",4,5,12,15,cyst\n', encoding="utf-8")
    [item] = FolderSource(root, format="csv", **options).read({})  # type: ignore[arg-type]
    return item


def kept(root: Path, name: str, **options: object) -> Record:
    record = read(root, name, **options)
    assert isinstance(record, Record) and (record.width, record.height) == SIZE, record
    return record


def dropped(root: Path, name: str) -> tuple[str, str]:
    item = read(root, name)
    assert isinstance(item, Dropped)
    return item.reason, item.detail


def dicom(path: Path, values: np.ndarray, signed: bool = False, **tags: object) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data: Dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    bits = values.dtype.itemsize * 8
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = values.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, int(signed)
    data.PixelData = values.tobytes()
    data["PixelData"].VR = "OW" if bits > 8 else "OB"
    for tag, value in tags.items():
        if value is ABSENT:
            delattr(data, tag)
        else:
            setattr(data, tag, value)
    pydicom.dcmwrite(path, data, enforce_file_format=True)


@pytest.fixture
def ct() -> np.ndarray:
    """Stored values; minus 1024 they are HU."""
    return np.linspace(0, 2000, WIDTH * HEIGHT).astype(np.int16).reshape(HEIGHT, WIDTH)


def gray(record: Record, root: Path) -> np.ndarray:
    return np.asarray(picture_of(record, {"folder": root}))[..., 0].astype(float)


def test_a_dicom_slice_goes_through_its_window(tmp_path: Path, ct: np.ndarray) -> None:
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PatientID": "Doe^Jane"}
    dicom(tmp_path / "a.dcm", ct, signed=True, WindowCenter=50, WindowWidth=400, **tags)
    record = kept(tmp_path, "a.dcm")
    wanted = np.clip((ct - 1024.0 - 49.5) / 399 + 0.5, 0, 1) * 255  # PS3.3 C.11.2.1.2
    assert np.abs(gray(record, tmp_path) - wanted).max() <= 0.5
    assert record.group.startswith("patient-") and "Doe" not in json.dumps(record.to_json())
    assert kept(tmp_path, "a.dcm", group_regex=r"^\w").group == "a", "what the user says of groups comes first"
    narrow = kept(tmp_path, "a.dcm", window=[0, 100])
    assert np.abs(gray(narrow, tmp_path) - np.clip((ct - 1024.0) / 100, 0, 1) * 255).max() <= 0.5


def test_a_dicom_slice_without_a_window_needs_one(tmp_path: Path, ct: np.ndarray) -> None:
    dicom(tmp_path / "a", ct, signed=True, RescaleSlope=1, RescaleIntercept=-1024)  # no suffix either
    reason, detail = dropped(tmp_path, "a")
    assert reason == "unreadable" and "window" in detail
    kept(tmp_path, "a", window=[-150, 250])


def lut(entries: int, first: int, bits: int, words: np.ndarray) -> list[Dataset]:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [entries, first, bits], words.astype(np.uint16).tobytes()
    return [item]


def functional_groups(**tags: float) -> list[Dataset]:
    """What an enhanced file says of its frame."""
    groups, transformation, view = Dataset(), Dataset(), Dataset()
    for name, value in tags.items():
        setattr(transformation if name.startswith("Rescale") else view, name, value)
    groups.PixelValueTransformationSequence, groups.FrameVOILUTSequence = [transformation], [view]
    return [groups]


DEEP = np.tile(np.array([0, 500, 1000, 1500, 2047, 4095], np.uint16), (4, 1))
HU = np.tile(np.array([-1000, -24, 0, 40, 1000], np.int16), (4, 1))
BYTES = np.tile(np.array([0, 1, 100, 255], np.uint8), (4, 1))
BITS_12 = {"BitsStored": 12, "HighBit": 11}
WINDOW: dict[str, Any] = {"WindowCenter": 1000, "WindowWidth": 1000}
SHOWN: dict[str, tuple[np.ndarray, dict[str, Any], list[int]]] = {
    # name: pixels, tags, levels by the formulas of PS3.3 C.11.2.1
    "LINEAR": (DEEP, WINDOW, [0, 0, 128, 255, 255, 255]),
    "LINEAR_EXACT": (DEEP, {**WINDOW, "VOILUTFunction": "LINEAR_EXACT"}, [0, 0, 128, 255, 255, 255]),
    "SIGMOID": (DEEP, {**WINDOW, "VOILUTFunction": "SIGMOID"}, [5, 30, 128, 225, 251, 255]),
    "steep SIGMOID": (DEEP, {**WINDOW, "WindowWidth": 1, "VOILUTFunction": "SIGMOID"}, [0, 0, 128, 255, 255, 255]),
    "MONOCHROME1": (DEEP, {**WINDOW, "PhotometricInterpretation": "MONOCHROME1"}, [255, 255, 127, 0, 0, 0]),
    "INVERSE": (DEEP, {**WINDOW, "PresentationLUTShape": "INVERSE"}, [255, 255, 127, 0, 0, 0]),
    "first window": (DEEP, {"WindowCenter": [1000, 50], "WindowWidth": [1000, 100]}, [0, 0, 128, 255, 255, 255]),
    "first valid window": (DEEP, {"WindowCenter": [50, 1000], "WindowWidth": [0, 1000]}, [0, 0, 128, 255, 255, 255]),
    "threshold": (DEEP, {**WINDOW, "WindowWidth": 1}, [0, 0, 255, 255, 255, 255]),
    "decimals": (DEEP, {"WindowCenter": "1000.50", "WindowWidth": "1000.25"}, [0, 0, 128, 255, 255, 255]),
    "narrow": (DEEP, {"WindowCenter": 0.4, "WindowWidth": 0.8, "RescaleSlope": "0.0005", "RescaleIntercept": 0},
               [0, 80, 159, 239, 255, 255]),
    "no frames": (DEEP, {**WINDOW, "NumberOfFrames": 0}, [0, 0, 128, 255, 255, 255]),
    "bits above": (DEEP | 0xA000, WINDOW, [0, 0, 128, 255, 255, 255]),
    "HighBit of 16": (DEEP, {**WINDOW, "HighBit": 15}, [0, 0, 128, 255, 255, 255]),
    "signed": (HU, {"WindowCenter": 40, "WindowWidth": 400, "BitsStored": 16, "HighBit": 15}, [0, 87, 102, 128, 255]),
    "signed 12 bits": ((HU & 0x0FFF), {"WindowCenter": 40, "WindowWidth": 400}, [0, 87, 102, 128, 255]),
    "falling slope": (DEEP, {"WindowCenter": -1000, "WindowWidth": 1000, "RescaleSlope": -1, "RescaleIntercept": 0},
                      [255, 255, 128, 0, 0, 0]),
    "VOI LUT": (DEEP, {**WINDOW, "VOILUTSequence": lut(4096, 0, 12, np.arange(4096)[::-1])},
                [255, 224, 193, 162, 128, 0]),
    "VOI LUT of 8 bits": (DEEP, {"VOILUTSequence": lut(4096, 0, 8, np.arange(4096) // 16)}, [0, 31, 62, 93, 127, 255]),
    "short VOI LUT": (DEEP, {"VOILUTSequence": lut(1001, 1000, 16, np.arange(1001) * 65)}, [0, 0, 0, 126, 253, 253]),
    "signed VOI LUT": (DEEP, {"RescaleSlope": 1, "RescaleIntercept": -1024,
                              "VOILUTSequence": lut(4096, 2**16 - 1024, 12, np.arange(4096))},
                       [0, 31, 62, 93, 127, 255]),
    "modality LUT": (DEEP, {"ModalityLUTSequence": lut(4096, 0, 16, np.arange(4096) * 2),
                            "WindowCenter": 2000, "WindowWidth": 2000}, [0, 0, 128, 255, 255, 255]),
    "enhanced": (DEEP, {"PerFrameFunctionalGroupsSequence": functional_groups(
        RescaleSlope=1, RescaleIntercept=-1000, WindowCenter=0, WindowWidth=1000)}, [0, 0, 128, 255, 255, 255]),
    "8 bits": (BYTES, {}, [0, 1, 100, 255]),
    "8 bits of film": (BYTES, {"PhotometricInterpretation": "MONOCHROME1"}, [255, 254, 155, 0]),
    "8 bits rescaled": (BYTES, {"RescaleSlope": 1, "RescaleIntercept": -1024}, [0, 1, 100, 255]),
    "8 bits, all shown": (BYTES, {"WindowCenter": 128, "WindowWidth": 256}, [0, 1, 100, 255]),
    "4 bits": (BYTES & 15, {"BitsStored": 4, "HighBit": 3}, [0, 17, 68, 255]),
    "three columns": (BYTES[:, 1:], {}, [1, 100, 255]),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_gray_values_are_shown_as_the_standard_says(tmp_path: Path, name: str) -> None:
    values, tags, levels = SHOWN[name]
    deep = BITS_12 if values.dtype.itemsize > 1 else {}
    dicom(tmp_path / "a.dcm", values, signed=values.dtype == np.int16, **{**deep, **tags})
    shown = np.asarray(open_picture(tmp_path / "a.dcm"))
    assert shown.shape == (*values.shape, 3) and (shown == np.array(levels)[:, None]).all(), shown[0, :, 0]


def test_without_a_valid_view_more_than_8_bits_need_a_window(tmp_path: Path) -> None:
    for width in (0, -5, None):
        dicom(tmp_path / "a.dcm", DEEP, WindowCenter=1000, WindowWidth=width, **BITS_12)
        assert "window" in dropped(tmp_path, "a.dcm")[1]
        shown = np.asarray(open_picture(tmp_path / "a.dcm", None, "range"))[0, :, 0]
        assert shown.tolist() == [0, 31, 62, 93, 127, 255]


def test_padding_is_no_part_of_the_range(tmp_path: Path) -> None:
    values = np.tile(np.array([-2000, -1500, 0, 100, 400], np.int16), (4, 1))
    for tags, low in (({}, -2000), ({"PixelPaddingValue": -2000}, -1500),
                      ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1500}, 0)):  # fmt: skip
        dicom(tmp_path / "a.dcm", values, signed=True, **tags)
        assert open_picture(tmp_path / "a.dcm", "range").info["window"] == (low, 400, 0)


def test_float_pixels(tmp_path: Path) -> None:
    values = np.array([[0, 0.25, 0.5, 1, np.nan]] * 4, np.float32)
    integer = dict.fromkeys(("PixelData", "BitsStored", "HighBit", "PixelRepresentation"), ABSENT)
    view = {"WindowCenter": 0.5, "WindowWidth": 1}
    for tags, window in (({}, "range"), (view, None), ({**view, "VOILUTFunction": "LINEAR_EXACT"}, None)):
        dicom(tmp_path / "a.dcm", values, FloatPixelData=values.tobytes(), **integer, **tags)
        shown = np.asarray(open_picture(tmp_path / "a.dcm", window))[0, :, 0].tolist()
        # a LINEAR window of width 1 is a threshold at center - 0.5
        assert shown == ([0, 255, 255, 255, 0] if tags is view else [0, 64, 128, 255, 0])
    dicom(tmp_path / "a.dcm", values, FloatPixelData=(values * np.nan).tobytes(), **integer)
    with pytest.raises(InputError, match="no pixel has a finite value"):
        open_picture(tmp_path / "a.dcm", "percentile")


COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]])


def palette(entries: int, first: int, bits: int, kind: type, repeat: int = 1, scale: int = 1) -> dict[str, Any]:
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, column in zip(("Red", "Green", "Blue"), COLORS.T, strict=True):
        table = np.repeat(column * scale, repeat)[: entries or 2**16].astype(kind).tobytes()
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [entries, first, bits]
        tags[f"{name}PaletteColorLookupTableData"] = table + b"\0" * (len(table) % 2)
    return tags


def segmented_palette() -> dict[str, Any]:
    """The four colors, each a discrete segment of one entry or a part of one."""
    tags = {k: v for k, v in palette(4, 0, 16, np.uint16).items() if not k.endswith("Data")}
    for name, column in zip(("Red", "Green", "Blue"), COLORS.T * 257, strict=True):
        words = np.array([0, 3, *column[:3], 0, 1, column[3]], np.uint16)
        tags[f"Segmented{name}PaletteColorLookupTableData"] = words.tobytes()
    return tags


PALETTES: dict[str, tuple[list[int], dict[str, Any]]] = {
    # name: four pixels of red, green, blue and gray, tags
    "8 bits": ([0, 1, 2, 3], palette(4, 0, 8, np.uint8)),
    "mapped from 7": ([0, 8, 9, 255], palette(4, 7, 8, np.uint8)),
    "16 bits": ([0, 1, 2, 3], palette(4, 0, 16, np.uint16, scale=257)),
    "8 bits in words": ([0, 1, 2, 3], palette(4, 0, 8, np.uint16)),
    "8 bits that say 16": ([0, 1, 2, 3], palette(4, 0, 16, np.uint16)),
    "more entries than 8 bits count": ([255, 256, 600, 5000], palette(1024, 0, 8, np.uint8, repeat=256)),
    "all entries": ([0, 16384, 40000, 65535], palette(0, 0, 16, np.uint16, repeat=16384, scale=257)),
    "transparent": ([0, 1, 2, 3], {**palette(4, 0, 8, np.uint8), "AlphaPaletteColorLookupTableData": bytes(4)}),
    "segmented": ([0, 1, 2, 3], segmented_palette()),
}


@pytest.mark.parametrize("name", PALETTES)
def test_colors_of_a_palette(tmp_path: Path, name: str) -> None:
    pixels, tags = PALETTES[name]
    dicom(tmp_path / "a.dcm", np.tile(np.array(pixels, np.uint16 if max(pixels) > 255 else np.uint8), (3, 1)), **tags)
    assert (np.asarray(open_picture(tmp_path / "a.dcm")) == COLORS).all()


def test_an_odd_palette_is_padded(tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", np.array([[0, 1, 2]] * 2, np.uint8), **palette(3, 0, 8, np.uint8))
    assert (np.asarray(open_picture(tmp_path / "a.dcm")) == COLORS[:3]).all()


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (12, 16), (16, 257)])
def test_colors_of_any_depth(tmp_path: Path, planar: int, bits: int, scale: int) -> None:
    kind = np.uint8 if bits == 8 else np.uint16
    stored = np.broadcast_to(np.minimum(COLORS * scale, 2**bits - 1), (3, *COLORS.shape)).astype(kind)
    shape = {"Rows": 3, "Columns": 4, "SamplesPerPixel": 3, "PlanarConfiguration": planar}
    content = (stored.transpose(2, 0, 1) if planar else stored).tobytes()
    dicom(tmp_path / "a.dcm", stored[..., 0], PhotometricInterpretation="RGB", PixelData=content,
          BitsStored=bits, HighBit=bits - 1, **shape)  # fmt: skip
    shown = np.asarray(open_picture(tmp_path / "a.dcm")).astype(int)
    assert shown.shape == stored.shape and np.abs(shown - COLORS).max() <= (1 if bits == 12 else 0)


def test_pixels_of_no_known_meaning_are_dropped(tmp_path: Path) -> None:
    rgb = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": bytes(72)}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"PhotometricInterpretation": "CMYK"}, "CMYK of 1 samples"),
        ({"PhotometricInterpretation": "RGB"}, "RGB of 1 samples"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_422", **rgb}, "YBR_PARTIAL_422"),
        (rgb, "MONOCHROME2 of 3 samples"),
        ({"PixelPresentation": "MIXED"}, "is not supported"),
        ({"WindowCenter": 1, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "CUBIC"),
        ({"BitsStored": 4}, "HighBit 7 contradicts BitsStored 4"),
        ({"BitsStored": ABSENT}, "no BitsStored"),
        ({"Columns": ABSENT}, "DICOM without a picture .Secondary Capture Image Storage; no Columns"),
        ({"PixelData": ABSENT}, "no pixels"),
    ]
    for tags, why in wrong:
        dicom(tmp_path / "a.dcm", np.full((4, 6), 200, np.uint8), **tags)
        with pytest.raises(InputError, match=why):
            open_picture(tmp_path / "a.dcm")


def real(name: str) -> np.ndarray:
    path = get_testdata_file(name)
    assert isinstance(path, str), name
    return np.asarray(open_picture(Path(path))).astype(int)


def test_real_files() -> None:
    """Encodings of one picture give the same pixels; colors to what JPEG changes."""
    mr = real("MR_small.dcm")
    for name in ("RLE", "bigendian", "expb", "implicit", "jp2klossless"):
        assert (real(f"MR_small_{name}.dcm") == mr).all(), name
    rgb = real("SC_rgb_rle.dcm")
    assert (rgb[5, 50], rgb[95, 50])[0].tolist() == [255, 0, 0]
    exact = ("SC_rgb_rle_16bit", "SC_rgb_rle_32bit")
    near = ("SC_ybr_full_422_uncompressed", "SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_jpeg_dcmtk", "SC_rgb_gdcm_KY")
    for name in (*exact, *near):
        apart = np.abs(real(f"{name}.dcm")[2::10, 5::10] - rgb[2::10, 5::10])
        assert apart.max() <= (0 if name in exact else 6), name
    assert set(np.unique(real("liver_1frame.dcm"))) == {0, 255}, "1 bit a pixel"
    data = pydicom.dcmread(str(get_testdata_file("examples_palette.dcm")))
    assert np.abs(real("examples_palette.dcm") - (apply_color_lut(data.pixel_array, data) >> 8)).max() <= 1


def test_dicom_files_that_are_no_picture(tmp_path: Path, ct: np.ndarray) -> None:
    dicom(tmp_path / "film.dcm", np.stack([ct] * 3), signed=True, NumberOfFrames=3, WindowCenter=50, WindowWidth=400)
    reason, detail = dropped(tmp_path, "film.dcm")
    assert reason == "unreadable" and "3 frames" in detail
    dicom(tmp_path / "a.dcm", ct, signed=True, WindowCenter=50, WindowWidth=400)
    content = (tmp_path / "a.dcm").read_bytes()
    parts = {
        "cut.dcm": content[: len(content) - 900],
        "head.dcm": content[:132],
        "text.dcm": b"text",
        "empty.dcm": b"",
        "none.dcm": b"\xff" * 5000,
        "tag": b"\x08\0\x05\0" + bytes(range(256)) * 9,
    }
    for name, part in parts.items():
        (tmp_path / name).write_bytes(part)
        reason, detail = dropped(tmp_path, name)
        assert reason == "unreadable" and "force" not in detail, name
        assert name == "cut.dcm" or "DICOM" in detail, name


def test_a_head_may_be_missing(tmp_path: Path, ct: np.ndarray) -> None:
    """Without the preamble, without the file meta too, with or without a suffix: the same picture and patient."""
    dicom(tmp_path / "a.dcm", ct, signed=True, WindowCenter=900, WindowWidth=400, PatientID="7")
    whole = kept(tmp_path, "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    data = pydicom.dcmread(tmp_path / "a.dcm")
    size = data.file_meta.FileMetaInformationGroupLength + 12  # and the element that says so
    for name, part in {"b.dcm": content[132:], "b": content[132:], "c.dcm": content[132 + size :]}.items():
        (tmp_path / name).write_bytes(part)
        record = kept(tmp_path, name)
        assert (gray(record, tmp_path) == gray(whole, tmp_path)).all() and record.group == whole.group, name


def test_another_picture_may_be_called_dcm(tmp_path: Path) -> None:
    Image.new("RGB", SIZE, (1, 2, 3)).save(tmp_path / "a.dcm", "PNG")
    assert picture_of(kept(tmp_path, "a.dcm"), {"folder": tmp_path}).getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("number", ["", " "])
def test_an_empty_patient_is_none(tmp_path: Path, ct: np.ndarray, number: str) -> None:
    dicom(tmp_path / "a.dcm", ct, signed=True, WindowCenter=900, WindowWidth=400, PatientID=number)
    assert kept(tmp_path, "a.dcm").group == "a.dcm"


@pytest.mark.parametrize("format", FORMATS)
def test_dicom_in_every_format(tmp_path: Path, ct: np.ndarray, format: str) -> None:
    folder = tmp_path / ("JPEGImages" if format == "voc" else "images")
    for other in (folder, tmp_path / "labels", tmp_path / "Annotations", tmp_path / "masks/cyst"):
        other.mkdir(parents=True)
    dicom(folder / "a.dcm", ct, signed=True, WindowCenter=900, WindowWidth=400, PatientID="7")
    coco = {
        "images": [{"id": 1, "file_name": "images/a.dcm", "width": WIDTH, "height": HEIGHT}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 5, 8, 10]}],
        "categories": [{"id": 1, "name": "cyst"}],
    }
    corners = "<xmin>5</xmin><ymin>6</ymin><xmax>12</xmax><ymax>15</ymax>"
    files = {
        "annotations.json": json.dumps(coco),
        "data.yaml": "names: [cyst]",
        "labels/a.txt": "0 0.2 0.5 0.2 0.5",
        "Annotations/a.xml": "<annotation><filename>a.dcm</filename><object><name>cyst</name>"
        f"<bndbox>{corners}</bndbox></object></annotation>",
        "annotations.csv": f"{HEADER}images/a.dcm,4,5,12,15,cyst\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:15, 4:12] = 255
    Image.fromarray(mask).save(tmp_path / "masks/cyst/a.png")
    [record] = FolderSource(tmp_path, format=format, modality="CT").read({})
    assert isinstance(record, Record) and record.category == "cyst" and record.group.startswith("patient-")
    assert record.boxes[0].to_xyxy(*SIZE) == pytest.approx((4, 5, 12, 15))
    assert np.abs(gray(record, tmp_path) - np.clip((ct - 899.5) / 399 + 0.5, 0, 1) * 255).max() <= 0.5
