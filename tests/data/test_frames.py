"""Whatever the size, the EXIF orientation and the format: a box covers the pixels that were drawn, or it is dropped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from umed.data.sources.base import PictureSource
from umed.data.sources.folder import FolderSource
from umed.pictures import open_picture
from umed.records import Dropped

Corners = tuple[float, ...]
Size = tuple[int, int]
Drawn = list[tuple[str, Size, Corners]]  # picture, size of the picture that the boxes are of (0 = not told), its box
TURN = Image.Transpose
TO_STORED = {  # EXIF orientation -> what undoes that of `ImageOps.exif_transpose`
    1: None,
    2: TURN.FLIP_LEFT_RIGHT,
    3: TURN.ROTATE_180,
    4: TURN.FLIP_TOP_BOTTOM,
    5: TURN.TRANSPOSE,
    6: TURN.ROTATE_90,
    7: TURN.TRANSVERSE,
    8: TURN.ROTATE_270,
}
SIZES = ((64, 48), (50, 50))  # of the picture as it is shown
PICTURES = [(size, tag) for size in SIZES for tag in TO_STORED]
SUFFIXES = (".jpg", ".png", ".webp", ".tiff")


def find_lesion(picture: Image.Image) -> Corners:
    """Around the bright pixels."""
    rows, columns = np.nonzero(np.asarray(picture.convert("L")) > 180)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def save(picture: Image.Image, path: Path, tag: int) -> None:
    exif = Image.Exif()
    if tag != 1:
        exif[ExifTags.Base.Orientation] = tag
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif, **({"quality": 100} if path.suffix == ".jpg" else {}))


def draw(root: Path, boxes_of: str, size_of: str) -> Drawn:
    """A picture of each size and orientation; boxes are of it as stored or shown, every other one of a larger copy."""
    drawn: Drawn = []
    for number, (size, tag) in enumerate(PICTURES):
        shown = Image.new("L", size, 20 + number)
        shown.paste(240, (4, 6, size[0] // 2, 13))
        turn = TO_STORED[tag]
        stored = shown if turn is None else shown.transpose(turn)
        name, scale = f"{number}{SUFFIXES[(number + number // 8) % 4]}", 1 + (number % 2 if size_of else 0)
        save(stored, root / "images" / name, tag)
        views = {"stored": stored, "shown": shown, "": Image.new("L", (0, 0))}
        width, height = views[size_of].size
        box = tuple(int(v) * scale for v in find_lesion(views[boxes_of]))
        drawn.append((name, (width * scale, height * scale), box))
    return drawn


def coco(root: Path, drawn: Drawn) -> dict[str, Any]:
    images = [
        {"id": k, "file_name": f"images/{name}", "width": w, "height": h} for k, (name, (w, h), _) in enumerate(drawn)
    ]
    entries = [
        {"id": k, "image_id": k, "category_id": 1, "bbox": [a, b, c - a, d - b]}
        for k, (*_, (a, b, c, d)) in enumerate(drawn)
    ]
    text = json.dumps({"images": images, "annotations": entries, "categories": [{"id": 1, "name": "cyst"}]})
    (root / "annotations.json").write_text(text)
    return {}


def csv(root: Path, drawn: Drawn) -> dict[str, Any]:
    rows = [f"images/{name},{','.join(map(str, box))},cyst,{w},{h}" for name, (w, h), box in drawn]
    (root / "annotations.csv").write_text("\n".join(["image,x0,y0,x1,y1,category,width,height", *rows]))
    return {"format": "csv"}


def voc(root: Path, drawn: Drawn) -> dict[str, Any]:
    (root / "Annotations").mkdir()
    for name, (width, height), (a, b, c, d) in drawn:
        corners = f"<xmin>{a + 1}</xmin><ymin>{b + 1}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        text = (
            f"<annotation><filename>images/{name}</filename>{size}<object><name>cyst</name><bndbox>{corners}</bndbox>"
        )
        (root / f"Annotations/{name}.xml").write_text(f"{text}</object></annotation>")
    return {"format": "voc"}


def yolo(root: Path, drawn: Drawn) -> dict[str, Any]:
    (root / "labels").mkdir(parents=True)
    (root / "data.yaml").write_text("names: [cyst]")
    for name, (w, h), (a, b, c, d) in drawn:
        line = f"0 {(a + c) / 2 / w} {(b + d) / 2 / h} {(c - a) / w} {(d - b) / h}"
        (root / f"labels/{name.partition('.')[0]}.txt").write_text(line)
    return {"format": "yolo"}


def masks(root: Path, drawn: Drawn, tags: bool = False) -> dict[str, Any]:
    for (name, size, box), (_, tag) in zip(drawn, PICTURES, strict=True):
        mask = Image.new("L", size)
        mask.paste(255, tuple(map(int, box)))
        save(mask, root / f"masks/{name.partition('.')[0]}.png", tag if tags else 1)
    return {"format": "masks", "category": "cyst"}


def tagged_masks(root: Path, drawn: Drawn) -> dict[str, Any]:
    return masks(root, drawn, tags=True)


def check(source: PictureSource, drawn: Drawn) -> set[str]:
    """Every box covers the lesion, and what is dropped says why; the pictures that gave a record."""
    items = list(source.read({}, workers=2))
    found = {item.image: item for item in items if not isinstance(item, Dropped)}
    assert len(items) == len(drawn)
    for item in items:
        if isinstance(item, Dropped):
            assert item.reason == "malformed" and ("EXIF orientation" in item.detail or "aspect" in item.detail), item
        else:
            [box] = item.boxes
            loaded = open_picture(source.root / item.image)
            assert loaded.size == (item.width, item.height)
            assert box.to_xyxy(*loaded.size) == pytest.approx(find_lesion(loaded), abs=0.5), (item.image, box)
    return {image.rpartition("/")[2] for image in found}


ALL, NONE, TURNED = set(range(1, 9)), {1}, {1, 5, 6, 7, 8}
TOOLS: dict[str, tuple[Callable[[Path, Drawn], dict[str, Any]], str, str, set[int], set[int]]] = {
    # boxes are of the picture as, and the stated size is of it as; orientations that are kept: of a square, of others
    "as CVAT": (coco, "shown", "shown", NONE, TURNED),
    "as labelme2coco": (coco, "shown", "stored", NONE, NONE),
    "no tag read": (coco, "stored", "stored", NONE, NONE),
    "COCO without a size": (coco, "shown", "", NONE, NONE),
    "as labelImg": (voc, "shown", "shown", NONE, TURNED),
    "as old labelImg": (voc, "stored", "stored", NONE, NONE),
    "VOC without a size": (voc, "stored", "", NONE, NONE),
    "table": (csv, "shown", "shown", NONE, TURNED),
    "table without a size": (csv, "stored", "", NONE, NONE),
    "as Ultralytics": (yolo, "shown", "shown", ALL, ALL),
    "masks of what is shown": (masks, "shown", "shown", NONE, TURNED),
    "masks of what is stored": (masks, "stored", "stored", NONE, TURNED),
    "masks that are turned alike": (tagged_masks, "stored", "stored", ALL, ALL),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_box_covers_what_was_drawn_or_is_dropped(tmp_path: Path, tool: str) -> None:
    write, boxes_of, size_of, square, oblong = TOOLS[tool]
    drawn = draw(tmp_path, boxes_of, size_of)
    options = write(tmp_path, drawn)
    kept = check(FolderSource(tmp_path, **options), drawn)
    pictures = zip(drawn, PICTURES, strict=True)
    assert kept == {name for (name, *_), (size, tag) in pictures if tag in (square if size[0] == size[1] else oblong)}
    if size_of in ("", boxes_of):
        every = check(FolderSource(tmp_path, orientation=boxes_of, **options), drawn)
        assert len(every) == len(drawn), "the option decides"
