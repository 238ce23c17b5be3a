"""The other formats of the `folder` source: YOLO, PASCAL VOC, CSV and masks; boxes to the pixel, every defect told."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.records import Dropped, Record

Corners = tuple[float, float, float, float]


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (40, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), np.uint8)
    Image.fromarray(noise).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read(root: Path, format: str, **options: Any) -> list[Record | Dropped]:
    return list(FolderSource(root, format=format, **options).read({}))


def boxes(items: list[Record | Dropped]) -> dict[str, list[Corners]]:
    return {
        i.id.removeprefix("folder/"): [pytest.approx(b.to_xyxy(i.width, i.height), abs=1e-6) for b in i.boxes]
        for i in items
        if isinstance(i, Record)
    }


def lost(items: list[Record | Dropped]) -> dict[str, str]:
    return {i.item: i.reason for i in items if isinstance(i, Dropped)}


# YOLO


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    write(tmp_path / "data.yaml", "names: [Lung_Tumor, cyst]\n")
    return tmp_path


@pytest.mark.parametrize("names", ["[a, Lung_Tumor]", "{1: lung tumor}", "\n  - a\n  - LUNG tumor"])
@pytest.mark.parametrize(
    ("place", "split"), [("images", ""), ("valid/images", "valid"), ("images/train", "train"), ("images/p1", "")]
)
def test_yolo_layouts(yolo: Path, place: str, split: str, names: str) -> None:
    write(yolo / "data.yaml", f"path: /nowhere\ntrain: ../x\nnames: {names}\n")
    picture(yolo / place / "a.b.png")
    write(yolo / place.replace("images", "labels") / "a.b.txt", "1 0.5 0.5 0.25 0.5\n\n1 0.1 0.1 0.1 0.1\r\n")
    [record] = read(yolo, "yolo")
    assert isinstance(record, Record)
    assert boxes([record]) == {f"{place}/a.b.png": [(15, 5, 25, 15), (2, 1, 6, 3)]}
    assert (record.category, record.official_split, record.split) == ("lung tumor", split, "")
    assert record.provenance["raw"] == ["1 0.5 0.5 0.25 0.5", "1 0.1 0.1 0.1 0.1"]


def test_yolo_polygons_become_boxes(yolo: Path) -> None:
    picture(yolo / "images/a.png")
    write(yolo / "labels/a.txt", "1 0.5 0.1 0.25 0.9 0.75 0.5\n")
    assert boxes(read(yolo, "yolo")) == {"images/a.png": [(10, 2, 30, 18)]}


def test_yolo_without_a_label_is_a_control(yolo: Path) -> None:
    for seed, name in enumerate(("none", "empty", "blank", "found")):
        picture(yolo / f"images/{name}.png", seed)
    write(yolo / "labels/empty.txt", "")
    write(yolo / "labels/blank.txt", " \r\n\n")
    write(yolo / "labels/found.txt", "0 0.5 0.5 0.5 0.5")
    items = read(yolo, "yolo")
    controls = [i for i in items if isinstance(i, Record) and not i.boxes]
    assert [c.image for c in controls] == ["images/blank.png", "images/empty.png", "images/none.png"]
    assert lost(items) == {c.image: "unlabeled" for c in controls}


def test_yolo_defects_of_a_line_or_a_file(yolo: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.txt"
    outside.write_text("0 0.5 0.5 0.5 0.5")
    for seed, name in enumerate(("a", "folder", "link", "dangling")):
        picture(yolo / f"images/{name}.png", seed)
    lines = ("0 nan .5 .5 .5", "0 .5 inf .5 .5", "0 .5 .5 .5", "0 .5 .5 .5 .5 .9", "0 0x1 .5 .5 .5", "0 .5 .5 0 .5")
    polygon = "0 .1 .1 nan .5 .9 .9"
    write(yolo / "labels/a.txt", "\n".join([*lines, polygon, "0 .5 .5 .5 .5"]))
    write(yolo / "labels/gone.txt", "0 .5 .5 .5 .5")
    (yolo / "labels/folder.txt").mkdir()
    (yolo / "labels/link.txt").symlink_to(outside)
    (yolo / "labels/dangling.txt").symlink_to("nowhere.txt")
    items = read(yolo, "yolo")
    assert boxes(items) == {"images/a.png": [(10, 5, 30, 15)]}
    assert lost(items) == {
        **{f"images/a.png line {number}": "malformed" for number in (1, 2, 3, 4, 5, 7)},
        "images/a.png line 6": "out_of_frame",
        "images/folder.png": "malformed",
        "images/link.png": "malformed",
        "images/dangling.png": "malformed",
        "labels/gone.txt": "missing_file",
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("0 10 5 20 10", r"labels/a\.txt:1: 10 is outside \[0, 1\]"),
        ("0 .5 .5 1.2 .5", r"1\.2 is outside"),
        ("0 -.5 .5 .2 .5", r"-0\.5 is outside"),
        ("7 .5 .5 .2 .5", "class 7 is not in names"),
        ("-1 .5 .5 .2 .5", "class -1 is not in names"),
        ("cyst .5 .5 .2 .5", "class cyst: an index"),
    ],
)
def test_yolo_of_another_convention_is_refused(yolo: Path, line: str, told: str) -> None:
    picture(yolo / "images/a.png")
    write(yolo / "labels/a.txt", line)
    with pytest.raises(InputError, match=told):
        read(yolo, "yolo")


def test_yolo_rounding_is_no_other_convention(yolo: Path) -> None:
    picture(yolo / "images/a.png")
    write(yolo / "labels/a.txt", "0 0.5 0.5 1.0000005 1")
    assert boxes(read(yolo, "yolo")) == {"images/a.png": [(0, 0, 40, 20)]}


@pytest.mark.parametrize(
    "text",
    [
        "names: [",
        "names: []",
        "nc: 3",
        "- a",
        "names: {a: b}",
        "names: [1]",
        "names: {true: a}",
        "x: 2024-99-99",
        "[" * 3000,
        "names: !!python/object/apply:os.getcwd []",
        "a: &a [x]\nnames: [*a]",
    ],
)
def test_yolo_names_that_are_none_are_told_in_one_line(yolo: Path, text: str) -> None:
    picture(yolo / "images/a.png")
    write(yolo / "data.yaml", text)
    with pytest.raises(InputError, match=r"data\.yaml: .*names") as caught:
        read(yolo, "yolo")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_yolo_without_files(yolo: Path) -> None:
    with pytest.raises(InputError, match="no folder images and none train/images"):
        read(yolo, "yolo")
    (yolo / "data.yaml").unlink()
    with pytest.raises(InputError, match=r"no file .*data\.yaml: a YAML file with names"):
        read(yolo, "yolo")


def test_yolo_names_of_pictures_and_classes_that_no_file_can_hold(yolo: Path) -> None:
    write(yolo / "data.yaml", 'names: [cyst, "\\uD800"]\n')
    picture(yolo / "images/a.png")
    odd = yolo / "images" / b"b\xff.png".decode("utf-8", "surrogateescape")
    odd.write_bytes((yolo / "images/a.png").read_bytes())
    write(yolo / "labels/a.txt", "0 .5 .5 .5 .5\n1 .5 .5 .5 .5")
    items = read(yolo, "yolo")
    assert boxes(items) == {"images/a.png": [(10, 5, 30, 15)]}
    assert Counter(i.reason for i in items if isinstance(i, Dropped)) == {"malformed": 2}
    for item in items:
        str(item.to_json()).encode()  # it can be written


# PASCAL VOC


def voc_xml(filename: str = "a.png", size: str | None = "40x20", *objects: str) -> str:
    width, _, height = (size or "").partition("x")
    sized = f"<size><width>{width}</width><height>{height}</height><depth>1</depth></size>" if size else ""
    return f"<annotation><folder>VOC</folder><filename>{filename}</filename>{sized}{''.join(objects)}</annotation>"


def voc_object(box: str = "5 6 14 15", name: str = "Lung_Tumor", more: str = "") -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=False)
    inside = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
    return f"<object><name>{name}</name>{more}<bndbox>{inside}</bndbox></object>"


def test_voc_corners_are_one_based_and_inside(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages/a.png")
    hard = voc_object("1 1 40 20", "cyst", "<difficult>1</difficult>")
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", "40x20", voc_object(), hard))
    items = read(tmp_path, "voc")
    assert boxes(items) == {"JPEGImages/a.png#1": [(4, 5, 14, 15)], "JPEGImages/a.png#2": [(0, 0, 40, 20)]}
    [tumor, cyst] = items
    assert isinstance(tumor, Record) and isinstance(cyst, Record) and tumor.category == "lung tumor"
    assert cyst.provenance["raw"] == [
        {"file": "Annotations/a.xml", "name": "cyst", "difficult": "1", "bndbox": ["1", "1", "40", "20"]}
    ]
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", None, voc_object("0 0 40 20"), voc_object()))
    assert boxes(read(tmp_path, "voc", box="xyxy")) == {"JPEGImages/a.png": [(0, 0, 40, 20), (5, 6, 14, 15)]}


@pytest.mark.parametrize(
    ("place", "filename"), [("JPEGImages/a.png", "a.png"), ("ann/a.png", "a.png"), ("x/a.png", "x/a.png")]
)
def test_voc_finds_the_picture(tmp_path: Path, place: str, filename: str) -> None:
    picture(tmp_path / place)
    write(tmp_path / "ann/a.xml", voc_xml(filename, "40x20", voc_object()))
    assert boxes(read(tmp_path, "voc", annotations="ann")) == {place: [(4, 5, 14, 15)]}


def test_voc_defects(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.xml"
    outside.write_text(voc_xml("a.png", "40x20", voc_object()))
    for seed, name in enumerate(("a", "normal", "lonely")):
        picture(tmp_path / f"JPEGImages/{name}.png", seed)
    wrong = [voc_object(b) for b in ("nan 1 2 3", "1 2 3", "x 1 2 3", "9 9 5 12", "50 1 60 9")]
    folder = tmp_path / "Annotations"
    write(folder / "a.xml", voc_xml("a.png", "40x20", voc_object(), *wrong, voc_object(name=" ")))
    write(folder / "normal.xml", voc_xml("normal.png"))
    write(folder / "gone.xml", voc_xml("gone.png", None, voc_object()))
    write(folder / "climbs.xml", voc_xml("../../etc/passwd", None, voc_object()))
    write(folder / "absolute.xml", voc_xml(str(tmp_path / "JPEGImages/a.png"), None, voc_object()))
    write(folder / "nameless.xml", voc_xml(" ", None, voc_object()))
    write(folder / "size.xml", voc_xml("a.png", "wide", voc_object()))
    write(folder / "cut.xml", voc_xml("a.png", None, voc_object())[:-20])
    write(folder / "empty.xml", "")
    write(folder / "coded.xml", '<?xml version="1.0" encoding="klingon"?>' + voc_xml())
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>' + voc_xml("&b;")
    write(folder / "bomb.xml", bomb)
    write(folder / "reads.xml", '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + voc_xml("&a;"))
    (folder / "link.xml").symlink_to(outside)
    items = read(tmp_path, "voc")
    assert boxes([i for i in items if isinstance(i, Record) and i.boxes]) == {"JPEGImages/a.png": [(4, 5, 14, 15)]}
    assert [i.image for i in items if isinstance(i, Record) and not i.boxes] == ["JPEGImages/normal.png"]
    names = ("nameless", "size", "cut", "empty", "coded", "bomb", "reads", "link")
    assert lost(items) == {
        **{f"JPEGImages/a.png object {number}": "malformed" for number in (2, 3, 4)},
        **{f"JPEGImages/a.png object {number}": "out_of_frame" for number in (5, 6)},
        "JPEGImages/a.png object 7": "unlabeled",
        "JPEGImages/normal.png": "unlabeled",
        "JPEGImages/lonely.png": "unlabeled",
        "JPEGImages/gone.png": "missing_file",
        "JPEGImages/../../etc/passwd": "malformed",
        str(tmp_path / "JPEGImages/a.png"): "malformed",
        **{f"Annotations/{name}.xml": "malformed" for name in names},
    }


def test_voc_of_another_size_or_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Annotations: no XML file"):
        read(tmp_path, "voc")
    picture(tmp_path / "JPEGImages/a.png")
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", "80x40", voc_object()))
    with pytest.raises(InputError, match=r"a\.xml: the picture is 40x20, not 80x40"):
        read(tmp_path, "voc")
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", "0x0", voc_object()))
    assert len(read(tmp_path, "voc")) == 1


# CSV

HEADER = "image,x0,y0,x1,y1,category"


def csv(root: Path, *rows: str, header: str = HEADER, **options: Any) -> list[Record | Dropped]:
    write(root / "annotations.csv", "\n".join([header, *rows]) + "\n")
    return read(root, "csv", **options)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for seed, name in enumerate("abc"):
        picture(tmp_path / f"{name}.png", seed)
    return tmp_path


def test_csv_rows_of_a_picture_may_be_anywhere(table: Path) -> None:
    items = csv(table, "a.png,1,2,3.5,4,Lung_Tumor", "b.png,5,6,7,8,cyst", "a.png,10,10,12,12,lung tumor", "c.png,,,,,")
    assert boxes(items) == {"a.png": [(1, 2, 3.5, 4), (10, 10, 12, 12)], "b.png": [(5, 6, 7, 8)], "c.png": []}
    assert lost(items) == {"c.png": "unlabeled"}


@pytest.mark.parametrize(
    ("box", "wanted"), [(None, (1, 2, 8, 9)), ("xyxy", (1, 2, 8, 9)), ("xywh", (1, 2, 9, 11)), ("voc", (0, 1, 8, 9))]
)
def test_csv_conventions(table: Path, box: str | None, wanted: Corners) -> None:
    assert boxes(csv(table, "a.png,1,2,8,9,cyst", box=box)) == {"a.png": [wanted]}


def test_csv_optional_and_unknown_columns_in_any_order(table: Path) -> None:
    header = "category, Y1,x1,y0,x0 ,reader,query,diagnosis,split,group,modality,image"
    row = 'cyst,9,8,2,1,Dr. Nö,"Is it, well?",A cyst at <region>.,dev,p7,MR,a.png'
    [record] = csv(table, row, header=header, modality="CT", group_regex="(z)", split="own")
    assert isinstance(record, Record) and boxes([record]) == {"a.png": [(1, 2, 8, 9)]}
    assert (record.query, record.diagnosis) == ("Is it, well?", "A cyst at <region>.")
    assert (record.split, record.official_split, record.group, record.modality) == ("val", "dev", "p7", "MR")
    assert record.provenance["raw"][0]["reader"] == "Dr. Nö"


@pytest.mark.parametrize("column", ["modality", "group", "split", "query", "diagnosis"])
def test_csv_rows_of_a_picture_agree(table: Path, column: str) -> None:
    rows = ["a.png,1,2,8,9,cyst,one", "a.png,2,2,8,9,cyst,", "a.png,3,2,8,9,cyst,one"]
    [record] = csv(table, *rows, header=f"{HEADER},{column}")
    assert isinstance(record, Record) and len(record.boxes) == 3
    with pytest.raises(InputError, match=rf"annotations\.csv:5: a\.png has {column} two, an earlier row has one"):
        csv(table, *rows, "a.png,3,2,8,9,cyst,two", header=f"{HEADER},{column}")


def test_csv_defects_of_a_row(table: Path) -> None:
    rows = [
        "a.png,1,2,8,9,cyst",
        "a.png,1,2,8,,cyst",
        "a.png,nan,2,8,9,cyst",
        "a.png,1,2,inf,9,cyst",
        "a.png,1,2,1e999,9,cyst",
        "a.png,0x1,2,8,9,cyst",
        "a.png,1,2,1_0,9,cyst",
        "a.png,50,2,58,9,cyst",
        "a.png,1,2,8,9,",
        "a.png,,,,,mass",
        "a.png,1,2,8",
        "a.png,1,2,8,9,cyst,more",
        ",1,2,8,9,cyst",
        "a\0.png,1,2,8,9,cyst",
        "b.png,1,2,8,9,cyst,,",
        "c.png,,,,,mass",
    ]
    items = csv(table, *rows)
    assert boxes(items) == {"a.png": [(1, 2, 8, 9)], "b.png": [(1, 2, 8, 9)]}
    assert lost(items) == {
        **{f"a.png row {number}": "malformed" for number in range(3, 9)},
        "a.png row 9": "out_of_frame",
        "a.png row 10": "unlabeled",
        "a.png row 11": "unlabeled",
        **{f"row {number}": "malformed" for number in (12, 13, 14, 15)},
        "c.png": "unlabeled",
    }, "a category without a box says nothing of where, and is no normal picture"


@pytest.mark.parametrize("word", ["", "No Finding", "no_finding", "normal"])
def test_csv_empty_numbers_are_no_finding(table: Path, word: str) -> None:
    [dropped, control] = csv(table, f"a.png, , ,,,{word}")
    assert isinstance(control, Record) and control.boxes == () and control.category == "no finding"
    assert isinstance(dropped, Dropped) and dropped.reason == "unlabeled"


@pytest.mark.parametrize("row", ["a.png,10,2,8,9,cyst", "a.png,1,9,8,9,cyst", "a.png,8,2,8,9,cyst", "a.png,9,9,1,1,c"])
def test_csv_of_another_convention_is_refused(table: Path, row: str) -> None:
    with pytest.raises(InputError, match=r"annotations\.csv:3: .*x1 > x0 and y1 > y0 .*box=xywh"):
        csv(table, "a.png,1,2,8,9,cyst", row)


def test_csv_headers_that_are_none(table: Path) -> None:
    with pytest.raises(InputError, match=r"annotations\.csv: no column y1, category in image,x0,y0,x1"):
        csv(table, "a.png,1,2,3", header="image,x0,y0,x1")
    with pytest.raises(InputError, match="no column image, x0, y0, x1, y1, category in image;x0"):
        csv(table, "a.png;1;2;3;4;cyst", header=HEADER.replace(",", ";"))
    with pytest.raises(InputError, match="column image occurs twice"):
        csv(table, "a.png,1,2,8,9,cyst,b", header=f"{HEADER},Image")
    with pytest.raises(InputError, match="a header and no row"):
        csv(table)
    with pytest.raises(InputError, match="no column"):
        csv(table, ",,,", header=",,,")


# masks


def mask(path: Path, *regions: Corners, level: int = 255, size: tuple[int, int] = (40, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((size[1], size[0]), np.uint8)
    for x0, y0, x1, y1 in regions:
        values[int(y0) : int(y1), int(x0) : int(x1)] = level
    Image.fromarray(values).save(path)


@pytest.mark.parametrize("level", [1, 128, 255])
def test_masks_beside_the_pictures(tmp_path: Path, level: int) -> None:
    for seed, name in enumerate(("a", "p1/b", "black", "bare")):
        picture(tmp_path / f"images/{name}.png", seed)
    mask(tmp_path / "masks/a.png", (3, 2, 9, 8), (20, 5, 21, 6), level=level)
    mask(tmp_path / "masks/p1/b.png", (3, 2, 9, 8), (9, 8, 12, 10), level=level)  # they touch at a corner
    mask(tmp_path / "masks/black.png")
    items = read(tmp_path, "masks", category="Cyst")
    found = {"images/a.png": [(3, 2, 9, 8), (20, 5, 21, 6)], "images/p1/b.png": [(3, 2, 12, 10)]}
    assert boxes(items) == {**found, "images/black.png": []}, "a black mask says that nothing is there"
    assert lost(items) == {"images/black.png": "unlabeled", "images/bare.png": "unlabeled"}
    assert {i.category for i in items if isinstance(i, Record) and i.boxes} == {"cyst"}


def test_masks_in_a_folder_for_each_category(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    mask(tmp_path / "seg/Lung_Tumor/a.png", (3, 2, 9, 8))
    mask(tmp_path / "seg/cyst/a.png", (30, 2, 40, 20))
    mask(tmp_path / "seg/edema/a.png")
    items = read(tmp_path, "masks", annotations="seg")
    assert boxes(items) == {"images/a.png#1": [(3, 2, 9, 8)], "images/a.png#2": [(30, 2, 40, 20)]}
    assert [i.category for i in items if isinstance(i, Record)] == ["lung tumor", "cyst"]
    mask(tmp_path / "seg/loose.png")
    with pytest.raises(InputError, match=r"seg: loose\.png has no category"):
        read(tmp_path, "masks", annotations="seg")


def test_masks_as_jpeg_palette_color_or_16_bits(tmp_path: Path) -> None:
    values = np.zeros((20, 40), np.uint8)
    values[4:16, 8:24] = 1
    (tmp_path / "masks").mkdir()
    made = {
        "jpeg.jpg": Image.fromarray(values * 255),
        "color.png": Image.fromarray(np.stack([values * 255] * 3, -1)),
        "bits.png": Image.fromarray(values * 255).convert("1"),
        "deep.png": Image.fromarray(values.astype(np.uint16) * 65535),
    }
    palette = Image.new("P", (40, 20))
    palette.paste(1, (8, 4, 24, 16))
    palette.putpalette([0, 0, 0, 128, 0, 0])
    for seed, (name, image) in enumerate({**made, "palette.png": palette}.items()):
        picture(tmp_path / "images" / f"{name[:-4]}.png", seed)
        image.save(tmp_path / "masks" / name)
    found = boxes(read(tmp_path, "masks", category="cyst"))
    assert found == {f"images/{name[:-4]}.png": [(8, 4, 24, 16)] for name in [*made, "palette.png"]}


def test_masks_defects(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    mask(outside, (3, 2, 9, 8))
    for seed, name in enumerate(("good", "size", "gray", "text", "link", "folder")):
        picture(tmp_path / f"images/{name}.png", seed)
    mask(tmp_path / "masks/good.png", (3, 2, 9, 8))
    mask(tmp_path / "masks/size.png", (3, 2, 9, 8), size=(80, 40))
    mask(tmp_path / "masks/gray.png", (3, 2, 9, 8), level=7)
    mask(tmp_path / "masks/gone.png", (3, 2, 9, 8))
    (tmp_path / "masks/text.png").write_text("no picture")
    (tmp_path / "masks/link.png").symlink_to(outside)
    (tmp_path / "masks/folder.png").symlink_to(tmp_path / "images")
    items = read(tmp_path, "masks", category="cyst")
    assert boxes(items) == {"images/good.png": [(3, 2, 9, 8)]}
    assert lost(items) == {
        "images/size.png masks/size.png region 1": "malformed",
        **{f"images/{name}.png": "malformed" for name in ("gray", "text", "link", "folder")},
        "masks/gone.png": "missing_file",
    }


def test_masks_without_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images: no file"):
        read(tmp_path, "masks", category="cyst")
    picture(tmp_path / "images/a.png")
    with pytest.raises(InputError, match="masks: no file"):
        read(tmp_path, "masks", category="cyst")
