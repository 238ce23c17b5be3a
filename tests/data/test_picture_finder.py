"""Pictures as annotation files name them: the right file, or none."""

import unicodedata
from pathlib import Path

import pytest
from items import boxes, draw, lost, write

from umed.data.picture_finder import PictureFinder, key_by_stem
from umed.data.prepare import gather
from umed.data.sources.folder import FolderSource
from umed.errors import InputError

FILES = ("0.png", "images/0.png", "images/my scan.png", "images/größer.jpg", "images/both.png", "images/both.jpg")
DECOMPOSED = unicodedata.normalize("NFD", "images/größer.jpg")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("here") / "root"
    for name in (*FILES, "images/b.png", "images/b.txt", "odd\\name.png", "100%25.png", "../secret.png"):
        write(root / name, "")
    return root


FOUND = {
    "odd\\name.png": ["odd\\name.png"],
    "100%25.png": ["100%25.png"],
    "0.png": ["0.png", "C:\\data\\0.png"],
    "images/b.png": ["images/b", "IMAGES\\B"],
    "images/my scan.png": ["images/my%20scan.png", "file:///set/images/my%20scan.png"],
    "images/größer.jpg": ["images/größer.jpg", DECOMPOSED, "images/gr%C3%B6%C3%9Fer.jpg", "images/GRÖßER.JPG"],
    "images/0.png": [
        *("images\\0.png", ".\\images\\0.png", "images\\\\0.png", "images%5C0.png", "images/x\\../0.png"),
        *("images/0.png", "./images/0.png", "images//0.png", "x/../images/0.png", "x\\..\\images/0.png"),
        *("C:\\data\\images\\0.png", "d:/data/images/0.png", "\\\\server\\share\\images\\0.png"),
        *("/images/0.png", "/home/me/set/images/0.png"),
        *("file:///C:/set/images/0.png", "file:///me/images/0.png", "s3://bucket/images/0.png"),
        *("/data/local-files/?d=images/0.png", "/data/local-files/?d=set%5Cimages%5C0.png"),
        *("images/0.PNG", "IMAGES/0.Png", "Images\\0.PNG", "images/0"),
    ],
    "": [
        *("", ".", "images", "images/both", "images/1.png", "0/0.png", "my scan.png", "images/0.jpg", "a\0.png"),
        *("..\\secret.png", "../secret.png", "images\\..\\..\\secret.png", "%2e%2e/secret.png"),
        *("C:\\..\\..\\secret.png", "file:///../secret.png", "/../secret.png", "/secret.png"),
    ],
}


@pytest.mark.parametrize(("name", "found"), [(name, found) for found, names in FOUND.items() for name in names])
def test_a_name_finds_its_file_alone(root: Path, name: str, found: str) -> None:
    assert PictureFinder(root).find(name) == found


def test_the_order_of_the_folders_counts(root: Path) -> None:
    finder = PictureFinder(root)
    assert finder.find("0.png", ("images", "")) == "images/0.png" and finder.find("0.png", ("", "images")) == "0.png"


def test_two_names_are_not_one_file_unless_written_so(root: Path) -> None:
    one = ["images/0.png", "images\\0.png", "./images/0.png", "images%5C0.png"]
    assert set(PictureFinder(root).find_all(one).values()) == {"images/0.png"}
    for names in (["C:\\a\\0.png", "C:\\b\\0.png"], ["images/b.PNG", "images/B.png"], ["/a/images/b.png", "/images/b"]):
        assert PictureFinder(root).find_all(names) == {name: name.replace("\\", "/") for name in names}
    assert PictureFinder(root).find_all(["0.png", "C:\\a\\0.png"]) == {"0.png": "0.png", "C:\\a\\0.png": "C:/a/0.png"}
    assert PictureFinder(root).find_all(["..\\secret.png"]) == {"..\\secret.png": "../secret.png"}


def test_pictures_and_labels_pair_by_stem() -> None:
    key = key_by_stem(["p/A.png", "größer.jpg"])
    assert key("p/A.png") == key("P/a.TXT") and key("größer.jpg") == key(unicodedata.normalize("NFD", "größer.txt"))
    key = key_by_stem(["a.png", "A.png"])
    assert key("a.txt") == key("a.png") != key("A.png")


@pytest.mark.parametrize("name", ["images\\0.png", "C:\\me\\images\\0.png", "images/0.PNG"])
def test_formats_find_pictures_of_windows(tmp_path: Path, name: str) -> None:
    draw(tmp_path / "images/0.png")
    write(tmp_path / "annotations.csv", f"image,x0,y0,x1,y1,category\n{name},1,2,8,9,cyst\n")
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>"
    text = f"<annotation><filename>{name}</filename><object><name>cyst</name>{box}</object></annotation>"
    write(tmp_path / "Annotations/x.xml", text)
    coco = (
        '{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 7, 7]}], "categories": [{"id": 1, "name": "cyst"}]}'
    )
    coco = '{"images": [{"id": 1, "file_name": "' + name.replace("\\", "\\\\") + '"}], "annotations": [' + coco
    write(tmp_path / "annotations.json", coco)
    for kind in ("csv", "voc", "coco"):
        items = list(FolderSource(tmp_path, format=kind).read({}))
        assert boxes(items) == {"images/0.png": [(1, 2, 8, 9)]} and not lost(items), kind


def test_a_table_of_nothing_but_lost_pictures_says_where_it_looked(tmp_path: Path) -> None:
    write(tmp_path / "annotations.csv", "image,x0,y0,x1,y1,category\nold\\0.png,1,2,8,9,cyst\n")
    with pytest.raises(InputError) as caught:
        gather({"folder": FolderSource(tmp_path, format="csv")}, 1, tmp_path / "dropped.jsonl")
    assert f"(1 missing_file), the first in {tmp_path}: old/0.png: No such file" in str(caught.value)
