"""Pictures and tables as the world has them: each defect is handled, or dropped with its reason."""

import json
import os
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from umed.data.prepare import prepare_records
from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.pictures import picture_of
from umed.records import Dropped, Record, read_records
from umed.run_files import write_jsonl

HEADER = "image,x0,y0,x1,y1,category\n"
SIZE = WIDTH, HEIGHT = 40, 20
SPLIT = {"fractions": (0.7, 0.1, 0.2), "seed": 0}


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH), np.uint8))


def read(root: Path, name: str, **options: object) -> Record | Dropped:
    """What the only picture of a table becomes; its box has an edge at each side."""
    (root / "annotations.csv").write_text(f'{HEADER}"{name}",4,5,12,15,cyst\n', encoding="utf-8")
    [item] = FolderSource(root, format="csv", **options).read({})
    return item


def kept(root: Path, name: str, **options: object) -> Record:
    record = read(root, name, **options)
    assert isinstance(record, Record), record
    assert (record.width, record.height) == SIZE
    assert record.boxes[0].to_xyxy(*SIZE) == pytest.approx((4, 5, 12, 15))
    shown = picture_of(record, {"folder": root})
    assert shown.mode == "RGB" and shown.size == SIZE
    return record


def dropped(root: Path, name: str, **options: object) -> tuple[str, str]:
    """Reason and detail."""
    item = read(root, name, **options)
    assert isinstance(item, Dropped) and item.item == os.path.normpath(name)
    return item.reason, item.detail


# what a picture can be


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "1", "LA", "RGBA", "YCbCr"])
def test_modes_are_kept(tmp_path: Path, mode: str) -> None:
    name = "a.tiff" if mode in ("CMYK", "YCbCr") else "a.png"
    noise().convert("RGB").convert(mode).save(tmp_path / name)
    kept(tmp_path, name)


def test_a_cmyk_jpeg_is_kept(tmp_path: Path) -> None:
    noise().convert("CMYK").save(tmp_path / "a.jpg")
    kept(tmp_path, "a.jpg")


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_palette_with_transparency_is_kept(tmp_path: Path) -> None:
    noise().convert("P").save(tmp_path / "a.png", transparency=3)
    noise().convert("P").save(tmp_path / "b.png", transparency=bytes(range(256)))
    kept(tmp_path, "a.png")
    kept(tmp_path, "b.png")


def test_an_exif_rotation_changes_nothing(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown by others as 20x40
    noise().save(tmp_path / "a.jpg", exif=exif)
    kept(tmp_path, "a.jpg")


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    (tmp_path / "annotations.csv").write_text(f"{HEADER}a.png,0,0,1,1,cyst\n")
    [record] = FolderSource(tmp_path, format="csv").read({})
    assert isinstance(record, Record) and record.to_json()["boxes"] == [[0, 0, 1, 1]]


@pytest.mark.parametrize("name", ["Größe Übersicht (1).png", "日本.png", "a'b\u00a0c.png", "x/y z/ä.png"])
def test_names_of_all_kinds_are_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    noise().save(tmp_path / name)
    record = kept(tmp_path, name)
    write_jsonl(tmp_path / "records.jsonl", [record.to_json()])
    assert read_records(tmp_path / "records.jsonl")[0].image == name


def test_sixteen_bits_need_a_window(tmp_path: Path) -> None:
    values = np.linspace(0, 60000, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert dropped(tmp_path, "a.png")[0] == "unreadable"
    record = kept(tmp_path, "a.png", window=[-1000, 1000], offset=-30000)
    assert record.window == (-1000, 1000, -30000)
    shown = np.asarray(picture_of(record, {"folder": tmp_path}))[..., 0]
    wanted = np.clip((values.astype(float) - 30000 + 1000) / 2000, 0, 1) * 255
    assert np.abs(shown - wanted).max() <= 0.5 and 0 < shown.mean() < 255


# what it cannot be


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_file_is_unreadable(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    noise().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert dropped(tmp_path, path.name)[0] == "unreadable"


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\0" * 5000])
def test_what_is_no_picture_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert dropped(tmp_path, "a.png")[0] == "unreadable"


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tiff", "a.webp"])
def test_what_moves_is_unreadable(tmp_path: Path, name: str) -> None:
    noise().save(tmp_path / name, save_all=True, append_images=[noise(1), noise(2)])
    reason, detail = dropped(tmp_path, name)
    assert reason == "unreadable" and "3 frames" in detail


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_decompression_bomb_is_dropped_without_being_unpacked(tmp_path: Path) -> None:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b""))
    tracemalloc.start()
    start = time.perf_counter()
    reason, detail = dropped(tmp_path, "a.png")
    took, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reason == "unreadable" and "decompression bomb" in detail
    assert took < 10 and peak < 20e6, f"{took:.1f} s, {peak / 1e6:.0f} MB"


# where it can lie


def test_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    noise().save(tmp_path / "secret.png")
    noise(1).save(root / "inside.png")
    (root / "same.png").symlink_to("inside.png")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "dangling.png").symlink_to("nowhere.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "up").symlink_to(tmp_path)
    kept(root, "same.png")
    assert dropped(root, "out.png")[0] == "malformed"
    assert dropped(root, "up/secret.png")[0] == "malformed"
    assert dropped(root, "dangling.png")[0] == "missing_file"
    assert dropped(root, "loop.png")[0] in ("missing_file", "unreadable")


def test_paths_that_climb_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    noise().save(tmp_path / "secret.png")
    noise(1).save(root / "inside.png")
    for name in ("../secret.png", "x/../../secret.png", str(tmp_path / "secret.png"), "/etc/passwd"):
        assert dropped(root, name)[0] == "malformed", name


def test_a_folder_or_a_pipe_named_like_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    os.mkfifo(tmp_path / "b.png")
    assert dropped(tmp_path, "a.png")[0] == "unreadable"
    assert dropped(tmp_path, "b.png")[0] == "unreadable"


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a/" * 2500 + "a.png", "gone.png", "gone/a.png"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    assert dropped(tmp_path, name)[0] == "missing_file"


# DICOM


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
    values = np.asarray(noise())
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


@pytest.mark.parametrize("format", ["coco", "yolo", "voc", "csv", "masks"])
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


# what a table can be


@pytest.fixture
def table(tmp_path: Path) -> Callable[[bytes], list[Record | Dropped]]:
    for seed, name in enumerate(("ä.png", "b.png")):
        noise(seed).save(tmp_path / name)

    def reading(content: bytes) -> list[Record | Dropped]:
        (tmp_path / "annotations.csv").write_bytes(content)
        return list(FolderSource(tmp_path, format="csv").read({}))

    return reading


ROWS = f"{HEADER}ä.png,4,5,12,15,Zyste groß\nb.png,1,1,2,2,cyst\n"


@pytest.mark.parametrize(
    "content",
    [
        ROWS.encode(),
        ROWS.encode("utf-8-sig"),
        ROWS.encode("latin-1"),
        ROWS.encode("utf-16"),
        ROWS.replace("\n", "\r\n").encode(),
        ROWS.replace("\n", "\n\n , \n").encode().replace(b" , ", b",,,,,"),
        ROWS.replace(",", " , ").replace(" ,", ",").encode(),
        ROWS.rstrip().encode(),
    ],
    ids=["plain", "bom", "latin-1", "utf-16", "crlf", "blank rows", "spaces", "no last newline"],
)
def test_tables_as_people_have_them(table: Callable[[bytes], list[Record | Dropped]], content: bytes) -> None:
    items = table(content)
    assert [i.id for i in items if isinstance(i, Record)] == ["folder/ä.png", "folder/b.png"]
    assert [i.category for i in items if isinstance(i, Record)] == ["zyste groß", "cyst"] and len(items) == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "empty"), (b"\xef\xbb\xbf \r\n", "empty"), (HEADER.encode(), "a header and no row"), (b"\0\1", "no column")],
)
def test_tables_that_hold_nothing(table: Callable[[bytes], list[Record | Dropped]], content: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        table(content)
    assert "\n" not in str(caught.value) and "annotations.csv" in str(caught.value)


def test_a_wrong_root_and_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder .*nowhere"):
        list(FolderSource(tmp_path / "nowhere", format="csv").read({}))
    with pytest.raises(InputError, match=r"no file .*annotations\.csv"):
        list(FolderSource(tmp_path, format="csv").read({}))
    (tmp_path / "annotations.csv").mkdir()
    with pytest.raises(InputError, match=r"annotations\.csv: cannot be read"):
        list(FolderSource(tmp_path, format="csv").read({}))


def test_pictures_listed_twice_are_one(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    noise().save(tmp_path / "b.png")
    rows = "a.png,4,5,12,15,cyst\nb.png,4,5,12,15,cyst\n./a.png,4,5,12,15,cyst\na.png,5,5,12,15,cyst\n"
    (tmp_path / "annotations.csv").write_text(HEADER + rows)
    again, record, *twice = FolderSource(tmp_path, format="csv").read({})
    twice.insert(0, again)
    assert isinstance(record, Record) and len(record.boxes) == 2
    assert [(d.item, d.reason) for d in twice if isinstance(d, Dropped)] == [
        ("a.png row 4", "duplicate"),
        ("b.png", "duplicate"),
    ]


def test_boxes_that_are_none(tmp_path: Path) -> None:
    """One a picture, and none of them keeps its picture."""
    wrong = {
        "malformed": ([float("nan"), 1, 2, 2], [1, float("inf"), 2, 2], [10**400, 1, 2, 2]),
        "out_of_frame": ([5, 5, -2, 2], [5, 5, 0, 2], [5, 5, 2, 0], [WIDTH, 1, 1, 1]),
    }
    boxes = [(reason, bbox) for reason, of in wrong.items() for bbox in of]
    for number in range(len(boxes)):
        noise(number).save(tmp_path / f"{number}.png")
    coco = {
        "images": [{"id": k, "file_name": f"{k}.png"} for k in range(len(boxes))],
        "annotations": [{"id": k, "image_id": k, "category_id": 1, "bbox": bbox} for k, (_, bbox) in enumerate(boxes)],
        "categories": [{"id": 1, "name": "cyst"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    items = list(FolderSource(tmp_path).read({}))
    assert [i.reason for i in items if isinstance(i, Dropped)] == [reason for reason, _ in boxes]
    assert len(items) == len(boxes)
    with pytest.raises(InputError, match=r"source folder gives no record \(4 out_of_frame, 3 malformed\)"):
        prepare_records({"folder": FolderSource(tmp_path)}, SPLIT, tmp_path / "run")
