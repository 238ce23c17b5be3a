"""Any box, written in any source's own convention and read by its parser, comes back within half a pixel."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from umed.data.sources.base import PictureSource
from umed.data.sources.deeplesion import DeepLesionSource
from umed.data.sources.folder import FolderSource
from umed.data.sources.kidney_stone import KidneyStoneSource
from umed.data.sources.kvasir import KvasirSource
from umed.data.sources.nih_chest import NihChestSource
from umed.data.sources.tbx11k import Tbx11kSource
from umed.records import Record
from umed.synthetic.formats import NIH_ENTRIES_HEADER

Corners = tuple[float, float, float, float]
Write = Callable[[Path, Image.Image, list[Corners]], PictureSource]


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def deeplesion(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    save(Image.fromarray(np.asarray(picture, np.uint16) + 32768), root / "Images_png/000001_01_01/001.png")
    rows = [
        "File_name,Measurement_coordinates,Bounding_boxes,Coarse_lesion_type,Possibly_noisy,DICOM_windows,Image_size,"
        "Train_Val_Test"
    ]
    for x0, y0, x1, y1 in boxes:
        box = ", ".join(str(v + 1) for v in (x0, y0, x1, y1))
        ends = ", ".join(str(v + 1) for v in (x0 + 5, y0 + 5, x1 - 5, y1 - 5, x0 + 5, y1 - 5, x1 - 5, y0 + 5))
        rows.append(f'000001_01_01_001.png,"{ends}","{box}",4,0,"0, 255","{picture.width}, {picture.height}",3')
    (root / "DL_info.csv").write_text("\n".join(rows))
    return DeepLesionSource(root)


def kidney_stone(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    w, h = picture.size
    save(picture, root / "train/images/a_png_jpg.rf.0.jpg")
    (root / "train/labels").mkdir()
    lines = [
        f"0 {(a + c) / 2 / w:.6f} {(b + d) / 2 / h:.6f} {(c - a) / w:.6f} {(d - b) / h:.6f}" for a, b, c, d in boxes
    ]
    (root / "train/labels/a_png_jpg.rf.0.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("nc: 1\nnames: ['Tas_Var']\n")
    return KidneyStoneSource(root)


def nih_chest(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    save(picture, root / "images/00000001_000.png")
    x, y = 1024 / picture.width, 1024 / picture.height
    rows = [f"00000001_000.png,Mass,{a * x},{b * y},{(c - a) * x},{(d - b) * y},,," for a, b, c, d in boxes]
    (root / "BBox_List_2017.csv").write_text("\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *rows]))
    entry = f"00000001_000.png,Mass,0,1,58,M,PA,{picture.width},{picture.height},1,1,"
    (root / "Data_Entry_2017.csv").write_text(f"{NIH_ENTRIES_HEADER}\n{entry}\n")
    return NihChestSource(root)


def coco_of(picture: Image.Image, boxes: list[Corners], name: str, category: str) -> str:
    listed = [
        {"id": i, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [a, b, c - a, d - b]}
        for i, (a, b, c, d) in enumerate(boxes)
    ]
    image = {"id": 1, "file_name": name, "width": picture.width, "height": picture.height}
    return json.dumps({"images": [image], "annotations": listed, "categories": [{"id": 1, "name": category}]})


def tbx11k(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    save(picture, root / "imgs/tb/tb0001.png")
    (root / "annotations/json").mkdir(parents=True)
    text = coco_of(picture, boxes, "tb/tb0001.png", "ActiveTuberculosis")
    (root / "annotations/json/TBX11K_train.json").write_text(text)
    return Tbx11kSource(root)


def kvasir(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    save(picture, root / "images/cju.jpg")
    keys = ("xmin", "ymin", "xmax", "ymax")
    listed = [{"label": "polyp", **dict(zip(keys, b, strict=True))} for b in boxes]
    entry = {"height": picture.height, "width": picture.width, "bbox": listed}
    (root / "kavsir_bboxes.json").write_text(json.dumps({"cju": entry}))
    return KvasirSource(root)


def coco(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    save(picture, root / "a.png")
    (root / "annotations.json").write_text(coco_of(picture, boxes, "a.png", "cyst"))
    return FolderSource(root, modality="CT")


def yolo(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    w, h = picture.size
    save(picture, root / "images/a.png")
    (root / "labels").mkdir()
    (root / "data.yaml").write_text("names: {0: cyst}\n")
    corners = [((a, b), (c, b), (c, d), (a, d)) for a, b, c, d in boxes]
    lines = [" ".join(["0", *(f"{x / w:.6f} {y / h:.6f}" for x, y in points)]) for points in corners]
    (root / "labels/a.txt").write_text("\n".join(lines))
    return FolderSource(root, format="yolo", modality="CT")


def voc(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    save(picture, root / "JPEGImages/a.png")
    (root / "Annotations").mkdir()
    objects = ""
    for a, b, c, d in boxes:
        inside = {"xmin": round(a) + 1, "ymin": round(b) + 1, "xmax": round(c), "ymax": round(d)}
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in inside.items())
        objects += f"<object><name>cyst</name><bndbox>{corners}</bndbox></object>"
    size = f"<size><width>{picture.width}</width><height>{picture.height}</height><depth>1</depth></size>"
    text = f"<annotation><filename>a.png</filename>{size}{objects}</annotation>"
    (root / "Annotations/a.xml").write_text(text)
    return FolderSource(root, format="voc", modality="CT")


def csv_corners(root: Path, picture: Image.Image, boxes: list[Corners], **options: Any) -> PictureSource:
    save(picture, root / "a.png")
    rows = [f"a.png,{','.join(map(str, b))},cyst" for b in boxes]
    (root / "annotations.csv").write_text("\n".join(["image,x0,y0,x1,y1,category", *rows]))
    return FolderSource(root, format="csv", modality="CT", **options)


def csv_xywh(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    return csv_corners(root, picture, [(a, b, c - a, d - b) for a, b, c, d in boxes], box="xywh")


def masks(root: Path, picture: Image.Image, boxes: list[Corners]) -> PictureSource:
    """One box: those of one mask would run into each other."""
    x0, y0, x1, y1 = (round(v) for v in boxes[0])
    mask = np.zeros((picture.height, picture.width), np.uint8)
    mask[y0:y1, x0:x1] = 255
    save(picture, root / "images/a.png")
    save(Image.fromarray(mask), root / "masks/a.png")
    return FolderSource(root, format="masks", modality="CT", category="cyst")


@st.composite
def pictures_with_boxes(draw: st.DrawFn) -> tuple[Image.Image, list[Corners]]:
    width, height = draw(st.integers(24, 300)), draw(st.integers(24, 300))

    def box() -> Corners:
        x0, y0 = draw(st.floats(0, width - 12)), draw(st.floats(0, height - 12))
        return x0, y0, draw(st.floats(x0 + 11, width)), draw(st.floats(y0 + 11, height))

    # no two alike, not even to the pixel: the same box twice is kept once
    several = {tuple(map(round, corners)): corners for corners in (box() for _ in range(draw(st.integers(1, 4))))}
    return Image.new("L", (width, height), 90), list(several.values())


ALL = (deeplesion, kidney_stone, nih_chest, tbx11k, kvasir, coco, yolo, voc, csv_corners, csv_xywh, masks)


@pytest.mark.parametrize("write", ALL, ids=lambda w: w.__name__)
@settings(max_examples=10)
@given(drawn=pictures_with_boxes())
def test_a_box_comes_back_within_half_a_pixel(write: Write, drawn: tuple[Image.Image, list[Corners]]) -> None:
    picture, boxes = drawn
    if write is masks:  # one that lies along the border is taken for an inverted one
        x0, y0, x1, y1 = boxes[0]
        assume(x0 >= 1 or y0 >= 1 or x1 <= picture.width - 1 or y1 <= picture.height - 1)
        assume((x1 - x0) * (y1 - y0) < 0.7 * picture.width * picture.height)
    with tempfile.TemporaryDirectory() as folder:
        [record] = write(Path(folder), picture, boxes).read({}, workers=1)
    assert isinstance(record, Record) and (record.width, record.height) == picture.size
    boxes = boxes[:1] if write is masks else boxes
    for box, true in zip(record.boxes, boxes, strict=True):
        for said, wanted in zip(box.to_xyxy(*picture.size), true, strict=True):
            assert abs(said - wanted) <= 0.5 + 1e-9
