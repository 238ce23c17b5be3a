"""Whatever the size, the EXIF orientation and the format: a box covers the pixels that were drawn, or it is dropped."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from umed.boxes import Box, BoxError
from umed.data.frames import Frame, place_box
from umed.data.inspect_picture import inspect_picture
from umed.data.sources.base import PictureSource
from umed.data.sources.deeplesion import DeepLesionSource
from umed.data.sources.folder import FolderSource
from umed.data.sources.kidney_stone import KidneyStoneSource
from umed.data.sources.kvasir import KvasirSource
from umed.data.sources.nih_chest import NihChestSource
from umed.data.sources.tbx11k import Tbx11kSource
from umed.pictures import open_picture
from umed.records import Dropped
from umed.synthetic.formats import NIH_ENTRIES_HEADER

Size = tuple[int, int]
Corners = tuple[int, int, int, int]
Drawn = list[tuple[Path, Size, Corners]]  # picture; size of the picture that the box is of, 0 = not told; the box
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
PICTURES = [(size, tag) for size in ((64, 48), (50, 50)) for tag in TO_STORED]  # size as it is shown
SUFFIXES = (".jpg", ".png", ".webp", ".tiff")


def find_lesion(picture: Image.Image) -> Corners:
    """Around the bright pixels."""
    rows, columns = np.nonzero(np.asarray(picture.convert("L")) > 180)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


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
        path = root / f"images/{number}{SUFFIXES[(number + number // 8) % 4]}"
        save(stored, path, tag)
        views = {"stored": stored, "shown": shown, "": Image.new("L", (0, 0))}
        scale = 1 + (number % 2 if size_of else 0)
        width, height = (side * scale for side in views[size_of].size)
        a, b, c, d = (side * scale for side in find_lesion(views[boxes_of]))
        drawn.append((path, (width, height), (a, b, c, d)))
    return drawn


def move(path: Path, name: str) -> str:
    """The picture under the name that the source asks for."""
    (path.parents[1] / name).parent.mkdir(parents=True, exist_ok=True)
    path.rename(path.parents[1] / name)
    return name


def write_coco(file: Path, names: list[str], drawn: Drawn) -> None:
    sizes = [{"width": w, "height": h} for _, (w, h), _ in drawn]
    images = [{"id": k, "file_name": name, **size} for k, (name, size) in enumerate(zip(names, sizes, strict=True))]
    bboxes = [[a, b, c - a, d - b] for *_, (a, b, c, d) in drawn]
    entries = [{"id": k, "image_id": k, "category_id": 1, "bbox": bbox} for k, bbox in enumerate(bboxes)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": entries, "categories": [{"id": 1, "name": "cyst"}]}))


def coco(root: Path, drawn: Drawn) -> PictureSource:
    write_coco(root / "annotations.json", [f"images/{path.name}" for path, *_ in drawn], drawn)
    return FolderSource(root)


def csv(root: Path, drawn: Drawn) -> PictureSource:
    rows = [f"images/{path.name},{','.join(map(str, box))},cyst,{w},{h}" for path, (w, h), box in drawn]
    (root / "annotations.csv").write_text("\n".join(["image,x0,y0,x1,y1,category,width,height", *rows]))
    return FolderSource(root, format="csv")


def voc(root: Path, drawn: Drawn) -> PictureSource:
    (root / "Annotations").mkdir()
    for path, (width, height), (a, b, c, d) in drawn:
        box = f"<bndbox><xmin>{a + 1}</xmin><ymin>{b + 1}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        size = f"<size><width>{width}</width><height>{height}</height></size><object><name>cyst</name>{box}</object>"
        text = f"<annotation><filename>images/{path.name}</filename>{size}</annotation>"
        (root / f"Annotations/{path.stem}.xml").write_text(text)
    return FolderSource(root, format="voc")


def write_labels(folder: Path, drawn: Drawn) -> None:
    folder.mkdir(parents=True)
    for path, (w, h), (a, b, c, d) in drawn:
        line = f"0 {(a + c) / 2 / w} {(b + d) / 2 / h} {(c - a) / w} {(d - b) / h}"
        (folder / f"{path.stem}.txt").write_text(line)


def yolo(root: Path, drawn: Drawn) -> PictureSource:
    (root / "data.yaml").write_text("names: [cyst]")
    write_labels(root / "labels", drawn)
    return FolderSource(root, format="yolo")


def masks(root: Path, drawn: Drawn, tags: bool = False) -> PictureSource:
    for (path, size, box), (_, tag) in zip(drawn, PICTURES, strict=True):
        mask = Image.new("L", size)
        mask.paste(255, box)
        save(mask, root / f"masks/{path.stem}.png", tag if tags else 1)
    return FolderSource(root, format="masks", category="cyst")


def tagged_masks(root: Path, drawn: Drawn) -> PictureSource:
    return masks(root, drawn, tags=True)


def deeplesion(root: Path, drawn: Drawn) -> PictureSource:
    rows = []
    for path, (w, h), box in drawn:
        move(path, f"Images_png/000001_01_01/{int(path.stem):03d}.png")
        corners = ", ".join(str(v + 1) for v in box)
        rows.append(f'000001_01_01_{int(path.stem):03d}.png,,"{corners}",4,0,"0, 255","{w}, {h}",3')
    head = "File_name,Measurement_coordinates,Bounding_boxes,Coarse_lesion_type,Possibly_noisy,DICOM_windows,Image_size"
    (root / "DL_info.csv").write_text("\n".join([f"{head},Train_Val_Test", *rows]))
    return DeepLesionSource(root)


def kidney_stone(root: Path, drawn: Drawn) -> PictureSource:
    for path, *_ in drawn:
        move(path, f"train/images/{path.stem}.jpg")
    (root / "data.yaml").write_text("names: [cyst]")
    write_labels(root / "train/labels", drawn)
    return KidneyStoneSource(root)


def kvasir(root: Path, drawn: Drawn) -> PictureSource:
    keys, entries = ("xmin", "ymin", "xmax", "ymax"), {}
    for path, (w, h), box in drawn:
        move(path, f"images/{path.stem}.jpg")
        entries[path.stem] = {"width": w, "height": h, "bbox": [dict(zip(keys, box, strict=True)) | {"label": "polyp"}]}
    (root / "kavsir_bboxes.json").write_text(json.dumps(entries))
    source = KvasirSource(root)
    source.near = False
    return source


def tbx11k(root: Path, drawn: Drawn) -> PictureSource:
    names = [move(path, f"imgs/tb/{path.stem}.png").removeprefix("imgs/") for path, *_ in drawn]
    write_coco(root / "annotations/json/TBX11K_trainval.json", names, drawn)
    return Tbx11kSource(root)


def nih_chest(root: Path, drawn: Drawn) -> PictureSource:
    """Boxes are in pixels of 1024 x 1024; the list of films states the original size."""
    rows, entries = ["Image Index,Finding Label,Bbox [x,y,w,h],,,"], [NIH_ENTRIES_HEADER]
    for path, (w, h), (a, b, c, d) in drawn:
        name = f"{int(path.stem):08d}_000.png"
        move(path, f"images/{name}")
        x, y = 1024 / w, 1024 / h
        rows.append(f"{name},Mass,{a * x},{b * y},{(c - a) * x},{(d - b) * y}")
        entries.append(f"{name},Mass,0,1,58,M,PA,{w},{h},1,1,")
    (root / "BBox_List_2017.csv").write_text("\n".join(rows))
    (root / "Data_Entry_2017.csv").write_text("\n".join(entries))
    return NihChestSource(root)


def check(source: PictureSource) -> set[int]:
    """Every box covers the lesion, and what is dropped says why; the numbers of the pictures that gave a record."""
    items = list(source.read({}, workers=2))
    assert len(items) == len(PICTURES)
    kept = set()
    for item in items:
        if isinstance(item, Dropped):
            assert item.reason == "malformed" and ("EXIF orientation" in item.detail or "aspect" in item.detail), item
            continue
        [box] = item.boxes
        loaded = open_picture(source.root / item.image, item.window)
        assert loaded.size == (item.width, item.height)
        assert box.to_xyxy(*loaded.size) == pytest.approx(find_lesion(loaded), abs=0.5), (item.image, box)
        kept.add(int(Path(item.image).stem.partition("_")[0]))
    return kept


ALL, NONE, TURNED = set(range(1, 9)), {1}, {1, 5, 6, 7, 8}
Write = Callable[[Path, Drawn], PictureSource]
TOOLS: dict[str, tuple[Write, str, str, set[int], set[int]]] = {
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
    "deeplesion": (deeplesion, "shown", "shown", NONE, TURNED),
    "kidney_stone": (kidney_stone, "shown", "shown", ALL, ALL),
    "kvasir": (kvasir, "stored", "stored", NONE, NONE),
    "tbx11k": (tbx11k, "shown", "shown", NONE, TURNED),
    "nih_chest": (nih_chest, "shown", "shown", NONE, TURNED),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_box_covers_what_was_drawn_or_is_dropped(tmp_path: Path, tool: str) -> None:
    write, boxes_of, size_of, square, oblong = TOOLS[tool]
    source = write(tmp_path, draw(tmp_path, boxes_of, size_of))
    tags = [(tag, square if size[0] == size[1] else oblong) for size, tag in PICTURES]
    assert check(source) == {number for number, (tag, kept) in enumerate(tags) if tag in kept}
    if size_of in ("", boxes_of):
        source.orientation = boxes_of
        assert len(check(source)) == len(PICTURES), "the option decides"


@pytest.mark.parametrize(
    ("frame", "size", "fits"),
    [
        *((Frame(*size), (64, 48), True) for size in ((64, 48), (128, 96), (32, 24), (63.5, 48), (6400, 4800))),
        *((Frame(*size), (64, 48), True) for size in ((0, 0), (64, 0), (0, 48), (65, 48), (1399, 1049))),
        *(
            (Frame(*size), (64, 48), False)
            for size in ((48, 64), (64, 50), (128, 0), (640, 470), (48, 48), (1400, 1000))
        ),
        (Frame(622, 529), (320, 272), True),
        (Frame(320, 272), (6220, 5290), True),
        *((Frame(width, 48), (64, 48), False) for width in (-64, float("nan"), float("inf"))),
        *((Frame.parse(width, "48"), (64, 48), False) for width in ("wide", [64], True, 10**400, "-64", "nan")),
        *((Frame.parse(width, "48.0"), (64, 48), True) for width in (None, "", 0, "0", 64, "64", 64.0)),
        *((Frame.parse(width, 48, needed=True), (64, 48), False) for width in (None, "", 0, "0.0")),
        (Frame(1024, 1024, original=(2048, 1536)), (64, 48), True),
        (Frame(1024, 1024, original=(1536, 2048)), (64, 48), False),
    ],
)
def test_a_copy_has_the_aspect_of_the_stated_size(frame: Frame, size: Size, fits: bool) -> None:
    def make_box(width: float, height: float) -> Box:
        return Box(0, 0, 16 / width, 12 / height)

    if fits:
        wanted = make_box(frame.width or size[0], frame.height or size[1])
        assert place_box(make_box, frame, size) == wanted
    else:
        with pytest.raises(BoxError, match=r"aspect|no width and height") as told:
            place_box(make_box, frame, size)
        assert told.value.reason == "malformed"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_what_is_no_orientation_turns_nothing(tmp_path: Path) -> None:
    blocks = [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12", b"x" * 50]
    for tag in (0, 9, 65535):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = tag
        blocks.append(exif.tobytes())
    for block in blocks:
        for suffix in SUFFIXES[:3]:
            Image.new("L", (64, 48), 1).save(tmp_path / f"a{suffix}", exif=block)
            assert inspect_picture(tmp_path, f"a{suffix}").views == (1, 1), (suffix, block)


@pytest.mark.parametrize(("width", "height"), [(40, 20), (2, 2)])
def test_fractions_that_are_taken_for_pixels_are_dropped_and_a_pixel_of_a_mask_is_kept(width: int, height: int) -> None:
    size = width, height
    for corners in ((0.1, 0.2, 0.4, 0.9), (0, 0, 1, 1)):
        with pytest.raises(BoxError, match="fractions"):
            place_box(partial(Box.from_xyxy, corners), Frame(), size)
    corner = Box(0, 0, 1 / width, 1 / height)
    assert place_box(lambda *_: corner, Frame(*size, views=(1, 1)), size) == corner
    assert place_box(partial(Box.from_xyxy, (0, 0, 1.5, 1)), Frame(), size) == Box(0, 0, 1.5 / width, 1 / height)
