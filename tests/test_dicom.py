"""DICOM files as pictures: windows, inverted films, patients, and files that are none."""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from items import HEIGHT, SIZE, WIDTH
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from umed.data.sources.folder import FORMATS, FolderSource
from umed.pictures import picture_of
from umed.records import Dropped, Record

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
    wanted = np.clip((ct - 1024.0 + 150) / 400, 0, 1) * 255
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


def test_a_dicom_film_where_low_is_white(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    dicom(tmp_path / "a.dcm", values, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(gray(kept(tmp_path, "a.dcm"), tmp_path), 255 - values)


def test_dicom_files_that_are_no_picture(tmp_path: Path, ct: np.ndarray) -> None:
    dicom(tmp_path / "film.dcm", np.stack([ct] * 3), signed=True, NumberOfFrames=3, WindowCenter=50, WindowWidth=400)
    reason, detail = dropped(tmp_path, "film.dcm")
    assert reason == "unreadable" and "3 frames" in detail
    dicom(tmp_path / "a.dcm", ct, signed=True, WindowCenter=50, WindowWidth=400)
    content = (tmp_path / "a.dcm").read_bytes()
    for name, part in (("cut.dcm", content[: len(content) - 900]), ("head.dcm", content[:132]), ("text.dcm", b"text")):
        (tmp_path / name).write_bytes(part)
        assert dropped(tmp_path, name)[0] == "unreadable", name


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
    assert np.abs(gray(record, tmp_path) - np.clip((ct - 700.0) / 400, 0, 1) * 255).max() <= 0.5
