"""A SYNTHETIC Kvasir-SEG of eight pictures; the key and the numbers of the first are those of the release."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from umed.data.sources.base import Corners, Example

FIRST = "cju0qkwl35piu0993l0dewei2"


def write_example(root: Path) -> Example:
    """Write it with its JPEG masks; two boxes on one picture, wrong corners and lost files are in it."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    boxes: dict[str, list[Corners]] = {
        FIRST: [(38, 5, 430, 338)],
        "two": [(10, 20, 60, 80), (100, 110, 180, 190)],
        "cut": [(1, 1, 9, 9)],
        "gone": [(1, 1, 9, 9)],
        "broken": [(5, 5, 50, 50)],
        "copy": [(10, 20, 60, 80)],
    }
    found: dict[str, Any] = {}
    for number, (key, corners) in enumerate(boxes.items()):
        width, height = (622, 529) if key == FIRST else (240, 200)
        entries = [{"label": "polyp", **dict(zip(("xmin", "ymin", "xmax", "ymax"), c, strict=True))} for c in corners]
        found[key] = {"height": height, "width": width, "bbox": entries}
        if key == "gone":
            continue
        draw_picture(root / "images" / f"{key}.jpg", width, height, corners, seed=1 if key == "copy" else number)
        mask = Image.new("L", (width, height))
        for x0, y0, x1, y1 in corners:
            ImageDraw.Draw(mask).ellipse((x0, y0, x1 - 1, y1 - 1), fill=255)
        mask.save(root / "masks" / f"{key}.jpg", quality=90)
    (root / "images" / "cut.jpg").write_bytes((root / "images" / "cut.jpg").read_bytes()[:400])
    (root / "images" / "copy.jpg").write_bytes((root / "images" / "two.jpg").read_bytes())
    draw_picture(root / "images" / "unnamed.jpg", 240, 200, [], seed=50)
    first, *_ = found["broken"]["bbox"]
    found["broken"]["bbox"] += [{"label": "polyp", "xmin": 38, "ymin": 5, "xmax": 430}, {**first, "xmin": "38"}]
    found["broken"]["bbox"] += [{**first, "xmin": float("nan")}, {**first, "xmin": 300, "xmax": 310}]
    (root / "kavsir_bboxes.json").write_text(json.dumps(found), encoding="utf-8")
    return Example(
        records={
            f"kvasir/{FIRST}.jpg": [(38, 5, 430, 338)],
            "kvasir/two.jpg": [(10, 20, 60, 80), (100, 110, 180, 190)],
            "kvasir/broken.jpg": [(5, 5, 50, 50)],
        },
        dropped={
            "missing_file": 1,
            "unreadable": 1,
            "duplicate": 1,
            "malformed": 3,
            "out_of_frame": 1,
            "unlabeled": 1,
        },
    )


def draw_picture(path: Path, width: int, height: int, boxes: list[Corners], seed: int) -> None:
    """Blocks of color that differ with the seed, and a light spot in each box."""
    blocks = np.random.default_rng(seed).integers(40, 160, (8, 8, 3), np.uint8)
    picture = Image.fromarray(blocks).resize((width, height), Image.Resampling.BILINEAR)
    for x0, y0, x1, y1 in boxes:
        ImageDraw.Draw(picture).ellipse((x0, y0, x1 - 1, y1 - 1), fill=(230, 160, 150))
    picture.save(path, quality=90)
