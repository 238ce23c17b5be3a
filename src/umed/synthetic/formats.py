"""The SYNTHETIC pictures written as the sources they imitate are released, so that the real parsers read them."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from umed.synthetic.pictures.canvas import Drawing

Drawn = Iterable[tuple[int, int, Drawing]]  # number of the picture, number of the patient, the drawing
WINDOW = (-175, 275)  # HU; wide enough that the 256 drawn levels stay distinct
NIH_FRAME = 1024  # NIH's boxes are in pixels of 1024 x 1024, whatever size the copy at hand has
LESION_TYPES = {"bone": 1, "mediastinum": 3, "liver": 4, "lung": 5, "kidney": 6, "soft tissue": 7}
KVASIR_CONTROLS = "kvasir-dataset-v2"  # folder of the normal views
DEEPLESION_HEADER = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
    "Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,Spacing_mm_px_,"
    "Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test"
)
NIH_BOXES_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
NIH_ENTRIES_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def write_deeplesion(folder: Path, drawn: Drawn) -> None:
    """16-bit PNG of HU + 32768 and `DL_info.csv`, 1-based boxes 5 px around the ends of two diameters."""
    rows = []
    for number, patient, (picture, lesions) in drawn:
        series = f"{patient + 1:06d}_01_01"
        low, high = WINDOW
        values = np.rint(low + np.asarray(picture, np.float64) / 255 * (high - low)) + 32768
        (folder / "Images_png" / series).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.astype(np.uint16)).save(folder / "Images_png" / series / f"{number:03d}.png")
        for lesion in lesions:
            x, y, w, h = lesion.bbox
            box = x0, y0, x1, y1 = x + 1, y + 1, x + w + 1, y + h + 1
            middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
            ends = (x0 + 5, middle_y, x1 - 5, middle_y, middle_x, y0 + 5, middle_x, y1 - 5)
            place = f"{middle_x / picture.width:.4f}, {middle_y / picture.height:.4f}, 0.5"
            rows.append(
                [
                    *(f"{series}_{number:03d}.png", patient + 1, 1, 1, number, _join(ends), _join(box)),
                    *(f"{w - 10}, {h - 10}", place, LESION_TYPES[lesion.category], 0, f"{number}, {number}"),
                    *("0.8, 0.8, 5", f"{picture.width}, {picture.height}", f"{low}, {high}"),
                    *("F" if patient % 2 else "M", 40 + patient % 40, 2 + patient % 2),
                ]
            )
    _write_csv(folder / "DL_info.csv", DEEPLESION_HEADER, rows)


def write_kidney_stone(folder: Path, drawn: Drawn) -> None:
    """A Roboflow export for YOLO: folders of JPEG and labels, `.rf.` names; an empty label file says no stone."""
    lines = [f"{key}: ../{name}/images" for key, name in (("train", "train"), ("val", "valid"), ("test", "test"))]
    (folder / "data.yaml").write_text("\n".join([*lines, "nc: 1", "names: ['Tas_Var']"]) + "\n", encoding="utf-8")
    for number, patient, (picture, lesions) in drawn:
        part = folder / ("train", "train", "train", "valid", "test")[patient % 5]
        stem = f"1-3-46-670589-33-1-{10**22 + patient}-{10**18 + number}_png_jpg"
        stem += f".rf.{hashlib.md5(stem.encode(), usedforsecurity=False).hexdigest()}"
        for name in ("images", "labels"):
            (part / name).mkdir(parents=True, exist_ok=True)
        picture.save(part / "images" / f"{stem}.jpg", quality=95)
        labels = []
        for x, y, w, h in (lesion.bbox for lesion in lesions):
            shares = (x + w / 2) / picture.width, (y + h / 2) / picture.height, w / picture.width, h / picture.height
            labels.append("0 " + " ".join(f"{v:.9f}" for v in shares))
        (part / "labels" / f"{stem}.txt").write_text("\n".join(labels), encoding="utf-8")


def write_nih_chest(folder: Path, drawn: Drawn) -> None:
    """PNG, every tenth with an alpha channel, and the two lists with their broken headers; "No Finding" has no box."""
    (folder / "images").mkdir(parents=True)
    boxes, entries = [], []
    for number, patient, (picture, lesions) in drawn:
        name = f"{patient + 1:08d}_{number:03d}.png"
        stored = picture.convert("RGBA") if number % 10 == 9 else picture
        stored.save(folder / "images" / name, compress_level=1)
        across, down = NIH_FRAME / picture.width, NIH_FRAME / picture.height
        for lesion in lesions:
            x, y, w, h = lesion.bbox
            boxes.append([name, lesion.category.title(), x * across, y * down, w * across, h * down, "", "", ""])
        labels = "|".join(dict.fromkeys(lesion.category.title() for lesion in lesions)) or "No Finding"
        entries.append([name, labels, 0, patient + 1, 40 + patient % 40, "FM"[patient % 2], "PA", *picture.size, 1, 1])
    _write_csv(folder / "BBox_List_2017.csv", NIH_BOXES_HEADER, boxes)
    _write_csv(folder / "Data_Entry_2017.csv", NIH_ENTRIES_HEADER, ([*entry, ""] for entry in entries))


def write_tbx11k(folder: Path, drawn: Drawn) -> None:
    """PNG and COCO JSON, a part of it for training and a part for validation; healthy films in a folder."""
    for name in ("tb", "health"):
        (folder / "imgs" / name).mkdir(parents=True)
    (folder / "annotations" / "json").mkdir(parents=True)
    (folder / "lists").mkdir()
    names = ("ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis")
    categories = [{"id": k, "name": name, "supercategory": "Tuberculosis"} for k, name in enumerate(names, 1)]
    parts: dict[str, tuple[list[dict], list[dict]]] = {"train": ([], []), "val": ([], [])}
    for number, _, (picture, lesions) in drawn:
        if not lesions:
            picture.save(folder / "imgs" / "health" / f"h{number + 1:04d}.png", compress_level=1)
            continue
        images, annotations = parts["val" if number % 5 == 4 else "train"]
        size = {"width": picture.width, "height": picture.height}
        name = f"tb/tb{number + 1:04d}.png"
        image = {"id": number + 1, "file_name": name, **size, "date_captured": ""}
        images.append({**image, "license": 1, "coco_url": "", "flickr_url": ""})
        picture.save(folder / "imgs" / name, compress_level=1)
        for k, lesion in enumerate(lesions):
            category = 2 if lesion.category.startswith("latent") else 1
            entry = {"id": 10 * number + k, "image_id": number + 1, "category_id": category, "iscrowd": 0}
            annotations.append({**entry, "area": int(lesion.mask.sum()), "bbox": lesion.bbox, **size})
    for part, (images, annotations) in parts.items():
        coco = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / "json" / f"TBX11K_{part}.json").write_text(json.dumps(coco), encoding="utf-8")
        if images:  # the parser refuses an empty list
            listed = "".join(image["file_name"] + "\n" for image in images)
            (folder / "lists" / f"TBX11K_{part}.txt").write_text(listed, encoding="utf-8")


def write_kvasir(folder: Path, drawn: Drawn) -> None:
    """JPEG with JPEG masks and `kavsir_bboxes.json`; normal views in a folder of Kvasir v2's kind."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    entries = {}
    for number, _, (picture, lesions) in drawn:
        if not lesions:
            normal = folder / KVASIR_CONTROLS / "normal-cecum"
            normal.mkdir(parents=True, exist_ok=True)
            picture.save(normal / f"{number:05d}.jpg", quality=95)
            continue
        key = f"cju{number:05d}"
        picture.save(folder / "images" / f"{key}.jpg", quality=95)
        mask = np.any([lesion.mask for lesion in lesions], axis=0)
        Image.fromarray((mask * 255).astype(np.uint8)).save(folder / "masks" / f"{key}.jpg", quality=90)
        corners = [(x, y, x + w, y + h) for x, y, w, h in (lesion.bbox for lesion in lesions)]
        boxes = [{"label": "polyp", **dict(zip(("xmin", "ymin", "xmax", "ymax"), c, strict=True))} for c in corners]
        entries[key] = {"height": picture.height, "width": picture.width, "bbox": boxes}
    (folder / "kavsir_bboxes.json").write_text(json.dumps(entries), encoding="utf-8")


FORMATS: dict[str, Callable[[Path, Drawn], None]] = {
    "phantom_deeplesion": write_deeplesion,
    "phantom_kidney_stone": write_kidney_stone,
    "phantom_nih_chest": write_nih_chest,
    "phantom_tbx11k": write_tbx11k,
    "phantom_kvasir": write_kvasir,
}


def _join(numbers: Iterable[float]) -> str:
    return ", ".join(f"{v:g}" for v in numbers)


def _write_csv(path: Path, header: str, rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as f:
        f.write(header + "\n")
        csv.writer(f, lineterminator="\n").writerows(rows)
