"""PASCAL VOC: corners, places of pictures, and every defect told."""

import math
from pathlib import Path
from typing import Any

import pytest
from items import boxes, lost, write
from items import draw as picture

from umed.data.sources.base import Item
from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.records import Record


def read(root: Path, **options: Any) -> list[Item]:
    return list(FolderSource(root, format="voc", **options).read({}))


def voc_xml(filename: str = "a.png", size: str | None = "40x20", *objects: str) -> str:
    width, _, height = (size or "").partition("x")
    sized = f"<size><width>{width}</width><height>{height}</height><depth>1</depth></size>" if size else ""
    return f"<annotation><folder>VOC</folder><filename>{filename}</filename>{sized}{''.join(objects)}</annotation>"


def voc_object(box: str = "5 6 14 15", name: str = "Lung_Tumor", more: str = "") -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box.split(), strict=False)
    inside = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
    return f"<object><name>{name}</name>{more}<bndbox>{inside}</bndbox></object>"


def test_corners_are_one_based_and_inside(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages/a.png")
    hard = voc_object("1 1 40 20", "cyst", "<difficult>1</difficult>")
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", "40x20", voc_object(), hard))
    items = read(tmp_path)
    assert boxes(items) == {"JPEGImages/a.png#1": [(4, 5, 14, 15)], "JPEGImages/a.png#2": [(0, 0, 40, 20)]}
    [tumor, cyst] = items
    assert isinstance(tumor, Record) and isinstance(cyst, Record) and tumor.category == "lung tumor"
    assert cyst.provenance["raw"] == [
        {"file": "Annotations/a.xml", "name": "cyst", "difficult": "1", "bndbox": ["1", "1", "40", "20"]}
    ]
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", None, voc_object("0 0 40 20"), voc_object()))
    assert boxes(read(tmp_path, box="xyxy")) == {"JPEGImages/a.png": [(0, 0, 40, 20), (5, 6, 14, 15)]}


def test_the_picture_is_found(tmp_path: Path) -> None:
    for place, filename in {"x/a.png": "x/a.png", "ann/a.png": "a.png", "JPEGImages/a.png": "a.png"}.items():
        picture(tmp_path / place)
        write(tmp_path / "ann/a.xml", voc_xml(filename, "40x20", voc_object()))
        assert boxes(read(tmp_path, annotations="ann")) == {place: [(4, 5, 14, 15)]}


OWN, IMAGES = "Annotations/x.xml", "JPEGImages/x.png"


@pytest.mark.parametrize(
    ("pictures", "files", "kept"),
    [
        *(
            ([IMAGES], {OWN: name}, {IMAGES: 1})
            for name in ("x", "IMG_1.png", "IMG_1", "", "x.jpg", "C:\\old\\IMG_1.png")
        ),
        *(
            (["images/x.jpg"], {OWN: name}, {"images/x.jpg": 1})
            for name in ("old.jpg", "images\\x.jpg", "c:\\y\\x.jpg")
        ),
        *(([place], {OWN: "old.png"}, {place: 1}) for place in ("Annotations/x.png", "x.png", "JPEGImages/X.PNG")),
        (["JPEGImages/y.png"], {OWN: "y.png"}, {"JPEGImages/y.png": 1}),
        (["JPEGImages/y.png"], {OWN: "y"}, {"JPEGImages/y.png": 1}),
        ([IMAGES, "JPEGImages/y.png"], {OWN: "y.png"}, {}),
        ([IMAGES], {OWN: "x.png", "Annotations/old.xml": "x.png"}, {IMAGES: 1}),
        (["JPEGImages/y.png"], {OWN: "y.png", "Annotations/old.xml": "y.png"}, {}),
        (["JPEGImages/y.png"], {OWN: "C:\\a\\y.png", "Annotations/old.xml": "C:\\b\\y.png"}, {}),
        (["JPEGImages/x.png", "JPEGImages/x.jpg"], {OWN: "old.png"}, {}),
        (["JPEGImages/x.png", "JPEGImages/x.jpg"], {OWN: "x.jpg"}, {"JPEGImages/x.jpg": 1}),
        (["JPEGImages/p/x.png", IMAGES], {"Annotations/p/x.xml": "x.png"}, {"JPEGImages/p/x.png": 1}),
        ([IMAGES], {OWN: "x.png", "Annotations/2/x.xml": "x.png"}, {IMAGES: 2}),
        (["train/a.png", "val/a.png"], {OWN: "a.png|val"}, {"val/a.png": 1}),
        (["val/a.png"], {OWN: "b.png|x|C:\\set\\val\\a.png"}, {"val/a.png": 1}),
    ],
)
def test_a_file_has_the_picture_of_its_filename_or_its_own_name(
    tmp_path: Path, pictures: list[str], files: dict[str, str], kept: dict[str, int]
) -> None:
    """`files`: XML file -> filename, folder and path in it; `kept`: picture -> number of its boxes."""
    for seed, name in enumerate(pictures):
        picture(tmp_path / name, seed)
    for k, (file, tags) in enumerate(files.items()):
        filename, folder, path = (*tags.split("|"), "", "")[:3]
        xml = voc_xml(filename, None, voc_object(f"{5 + k} 6 14 15")).replace("<folder>VOC", f"<folder>{folder}")
        write(tmp_path / file, xml.replace("<filename>", f"<path>{path}</path><filename>"))
    items = read(tmp_path)
    assert {name: len(corners) for name, corners in boxes(items).items()} == kept
    assert len(lost(items)) >= len(files) - sum(kept.values())
    assert set(lost(items).values()) <= {"malformed", "missing_file", "unlabeled"}


def test_parts_are_no_objects(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages/a.png")
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    without = f"<object><name>cyst</name>{part}</object>"
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", None, voc_object(more=part), without))
    items = read(tmp_path)
    assert boxes(items) == {"JPEGImages/a.png": [(4, 5, 14, 15)]}
    assert lost(items) == {"JPEGImages/a.png object 2": "malformed"}


def test_defects(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
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
    items = read(tmp_path)
    assert boxes([i for i in items if isinstance(i, Record) and i.boxes]) == {"JPEGImages/a.png": [(4, 5, 14, 15)]}
    assert [i.image for i in items if isinstance(i, Record) and not i.boxes] == ["JPEGImages/normal.png"]
    names = ("absolute", "nameless", "size", "cut", "empty", "coded", "bomb", "reads", "link")
    assert lost(items) == {
        **{f"JPEGImages/a.png object {number}": "malformed" for number in (2, 3, 4)},
        **{f"JPEGImages/a.png object {number}": "out_of_frame" for number in (5, 6)},
        "JPEGImages/a.png object 7": "unlabeled",
        "JPEGImages/normal.png": "unlabeled",
        "JPEGImages/lonely.png": "unlabeled",
        "JPEGImages/gone.png": "missing_file",
        "JPEGImages/../../etc/passwd": "malformed",
        **{f"Annotations/{name}.xml": "malformed" for name in names},
    }


TURNED = "<name>cyst</name><robndbox><cx>25</cx><cy>10</cy><w>14</w><h>6</h><angle>{}</angle></robndbox>"
ATTRIBUTE = "<attributes><attribute><name>rotation</name><value>{}</value></attribute></attributes>"


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        *((voc_object("19 8 32 13", more=ATTRIBUTE.format(v)), (18, 7, 32, 13)) for v in ("0.0", "360", "", "-180")),
        (voc_object("19 8 32 13", more=ATTRIBUTE.format("90.0")), (22, 3, 28, 17)),
        (voc_object("19 8 32 13", more="<rotation>0</rotation>"), (18, 7, 32, 13)),
        *((voc_object("19 8 32 13", more=f"<rotation>{v}</rotation>"), None) for v in ("90", "180", "nan", "left")),
        (voc_object("19 8 32 13", more=ATTRIBUTE.format("nan")), None),
        ("<object>" + TURNED.format(math.pi / 2) + "</object>", (22, 3, 28, 17)),
        ("<object>" + TURNED.format(math.pi) + "</object>", (18, 7, 32, 13)),
        ("<object>" + TURNED.format("x") + "</object>", None),
        ("<object>" + TURNED.format("") + "</object>", None),
    ],
)
def test_a_turned_box_is_the_one_around_it(tmp_path: Path, entry: str, wanted: tuple[float, ...] | None) -> None:
    picture(tmp_path / "JPEGImages/a.png")
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", "40x20", entry))
    items = read(tmp_path)
    assert boxes(items) == ({"JPEGImages/a.png": [wanted]} if wanted else {})
    assert lost(items) == ({} if wanted else {"JPEGImages/a.png object 1": "malformed"})


def test_of_another_size_or_without_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Annotations: no XML file"):
        read(tmp_path)
    picture(tmp_path / "JPEGImages/a.png")
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", "80x40", voc_object()))
    assert boxes(read(tmp_path)) == {"JPEGImages/a.png": [(2, 2.5, 7, 7.5)]}
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", "80x45", voc_object()))
    assert lost(read(tmp_path)) == {"JPEGImages/a.png object 1": "malformed"}
    write(tmp_path / "Annotations/a.xml", voc_xml("a.png", "0x0", voc_object()))
    assert len(read(tmp_path)) == 1


def test_objects_in_other_letters_or_a_namespace_are_objects_and_another_document_is_none(tmp_path: Path) -> None:
    xml = voc_xml("a.png", "40x20", voc_object())
    shouted = xml.replace("object>", "Object>").replace("bndbox>", "BndBox>").replace("annotation>", "Annotation>")
    in_namespace = xml.replace("<annotation>", '<annotation xmlns="http://example.org/voc">')
    picture(tmp_path / "JPEGImages/a.png")
    for text in (shouted, in_namespace):
        write(tmp_path / "Annotations/a.xml", text)
        assert boxes(read(tmp_path)) == {"JPEGImages/a.png": [(4, 5, 14, 15)]}
    write(tmp_path / "Annotations/a.xml", "<svg><object/></svg>")
    assert ("Annotations/a.xml", "malformed") in lost(read(tmp_path)).items()
