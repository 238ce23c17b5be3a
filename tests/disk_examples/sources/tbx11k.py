"""A SYNTHETIC TBX11K of twelve films; the annotations of tb0005 and tb0007 are those of the release."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from umed.data.sources.base import Example

SIDE = 512
NAMES = ("ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis")
TRAIN = ("tb/tb0005.png", "tb/tb0007.png", "health/h0001.png", "sick/s0001.png", "tb/tb0100.png", "tb/tb0200.png")
VAL = ("tb/tb0300.png", "tb/tb0400.png", "health/h0002.png", "tb/tb0005.png")  # the last is listed twice
XML = """<annotation><filename>tb0005.png</filename><size><width>3000</width><height>3000</height></size>
<object><name>ActiveTuberculosis</name><bndbox><xmin>2237</xmin><ymin>743</ymin><xmax>2473</xmax><ymax>1004</ymax>
</bndbox></object></annotation>
"""


def write_example(root: Path) -> Example:
    """Write it; a copy of two categories, a resized film, wrong ids and boxes, and withheld films are in it."""
    for folder in ("imgs/tb", "imgs/health", "imgs/sick", "imgs/test", "imgs/extra", "lists", "annotations/xml"):
        (root / folder).mkdir(parents=True)
    (root / "annotations" / "json").mkdir()
    (root / "annotations" / "xml" / "tb0005.xml").write_text(XML, encoding="utf-8")
    on_disk = [*dict.fromkeys(TRAIN + VAL), "health/h0003.png", "test/t0001.png", "test/t0002.png", "extra/e0001.png"]
    for number, name in enumerate(on_disk):
        if name == "tb/tb0200.png":
            continue  # listed and not there
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        pixels[0, : number + 1] = 255  # no two alike
        picture = Image.fromarray(pixels)
        picture.resize((256, 256)).save(root / "imgs" / name) if name == "tb/tb0300.png" else picture.save(
            root / "imgs" / name
        )
    (root / "imgs" / "tb" / "tb0400.png").write_bytes(b"\x89PNG\r\n\x1a\n")  # cut off
    train = [
        _box(1, 1, 1, [381.8337, 126.8734, 40.2369, 44.5658]),
        _box(2, 2, 2, [307.307, 62.050, 135.504, 146.611]),
        _box(3, 2, 2, [144.120, 52.935, 126.179, 116.226]),
        _box(4, 6, 1, [10, 10, 20, 20]),
        _box(5, 77, 1, [10, 10, 20, 20]),  # no such image
        _box(6, 1, 9, [10, 10, 20, 20]),  # no such category
        _box(7, 1, 1, [10, 10, float("nan"), 20]),
        _box(8, 1, 1, [600, 10, 20, 20]),
    ]
    val = [
        _box(1, 1, 3, [100, 200, 50, 60]),
        _box(2, 1, 1, [400, 400, 200, 20]),  # beyond the border
        _box(3, 2, 1, [10, 10, 20, 20]),
        _box(4, 4, 1, [10, 10, 20, 20]),  # of the film that the other file has
    ]
    for part, files, boxes in (("train", TRAIN, train), ("val", VAL, val)):
        (root / "annotations" / "json" / f"TBX11K_{part}.json").write_text(json.dumps(_coco(files, boxes)))
        (root / "lists" / f"TBX11K_{part}.txt").write_text("\n".join(files) + "\n")
    (root / "annotations" / "json" / "TBX11K_trainval.json").write_text(json.dumps(_coco(VAL, val)))
    (root / "lists" / "TBX11K_test.txt").write_text("test/t0001.png\ntest/t0002.png\n")
    return Example(
        records={
            "tbx11k/tb/tb0005.png": [(381.8337, 126.8734, 422.0706, 171.4392)],
            "tbx11k/tb/tb0007.png": [(307.307, 62.050, 442.811, 208.661), (144.120, 52.935, 270.299, 169.161)],
            "tbx11k/tb/tb0300.png#1": [(50, 100, 75, 130)],
            "tbx11k/tb/tb0300.png#2": [(200, 200, 256, 210)],
        },
        dropped={
            "malformed": 4,  # image, category, NaN, and the box of the film listed twice
            "out_of_frame": 1,
            "missing_file": 1,
            "unreadable": 1,
            "duplicate": 1,
            "unlabeled": 8,  # three healthy, one sick, one tb without a box, two withheld, one of another data set
        },
        controls=3,
    )


def _box(number: int, image: int, category: int, bbox: list[float]) -> dict[str, Any]:
    size = {"width": SIDE, "height": SIDE}
    return {"id": number, "image_id": image, "category_id": category, "iscrowd": 0, "area": 1.0, "bbox": bbox, **size}


def _coco(files: tuple[str, ...], boxes: list[dict[str, Any]]) -> dict[str, Any]:
    more = {"width": SIDE, "height": SIDE, "date_captured": "", "license": 1, "coco_url": "", "flickr_url": ""}
    return {
        "images": [{"id": number, "file_name": name, **more} for number, name in enumerate(files, 1)],
        "annotations": boxes,
        "categories": [{"id": k, "name": name, "supercategory": "Tuberculosis"} for k, name in enumerate(NAMES, 1)],
    }
