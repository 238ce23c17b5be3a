"""Eight SYNTHETIC pictures with a COCO file, as a user may have them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from umed.data.sources.base import Example


def write_example(root: Path) -> Example:
    """Write `images/` and `annotations.json`; two categories on one picture, float boxes and lost files are in it."""
    (root / "images").mkdir(parents=True)
    names = ("one", "two", "alpha", "plain", "copy", "cut", "deep", "größer 1")
    for number, name in enumerate(names):
        levels = np.random.default_rng(1 if name == "copy" else number).integers(0, 256, (48, 64), np.uint8)
        picture = Image.fromarray(levels)
        if name == "alpha":
            picture = picture.convert("RGBA")
        if name == "deep":
            picture = Image.fromarray(levels.astype(np.uint16) * 200)
        picture.save(root / "images" / f"{name}.png")
    (root / "images" / "cut.png").write_bytes((root / "images" / "cut.png").read_bytes()[:900])
    files = [*(f"images/{name}.png" for name in names), "images/gone.png", "../outside.png"]
    boxes: list[dict[str, Any]] = [
        {"image_id": 1, "category_id": 7, "bbox": [4.5, 5.25, 10, 20]},
        {"image_id": 2, "category_id": 7, "bbox": [0, 0, 64, 48]},
        {"image_id": 2, "category_id": 3, "bbox": [-0.5, 10, 8, 8]},
        {"image_id": 2, "category_id": 3, "bbox": [30, 10, 8, 8]},
        {"image_id": 2, "category_id": 3, "bbox": [30, 10, 8, 8], "iscrowd": 1},
        {"image_id": 2, "category_id": 3, "bbox": [30, 10, 0, 8]},
        {"image_id": 2, "category_id": 3, "bbox": [30, 10, float("nan"), 8]},
        *({"image_id": number, "category_id": 3, "bbox": [1, 2, 3, 4]} for number in (3, 5, 6, 7, 8, 9, 10)),
    ]
    coco = {
        "images": [{"id": number, "file_name": file} for number, file in enumerate(files, 1)],
        "annotations": [{"id": number, **box} for number, box in enumerate(boxes, 100)],
        "categories": [{"id": 7, "name": "Lung_Tumor"}, {"id": 3, "name": "cyst"}],
    }
    (root / "annotations.json").write_text(json.dumps(coco), encoding="utf-8")
    return Example(
        records={
            "folder/images/one.png": [(4.5, 5.25, 14.5, 25.25)],
            "folder/images/two.png#1": [(0, 0, 64, 48)],
            "folder/images/two.png#2": [(0, 10, 7.5, 18), (30, 10, 38, 18)],
            "folder/images/alpha.png": [(1, 2, 4, 6)],
            "folder/images/größer 1.png": [(1, 2, 4, 6)],
        },
        dropped={
            "malformed": 3,  # iscrowd, NaN, a path that climbs out
            "out_of_frame": 1,
            "unlabeled": 1,
            "duplicate": 1,
            "unreadable": 2,  # cut off; 16 bits without a window
            "missing_file": 1,
        },
    )
