"""Masks: connected regions to the pixel, and every defect told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from items import Corners, boxes, lost
from items import draw as picture
from PIL import Image

from umed.data.sources.base import Item
from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.records import Record


def read(root: Path, **options: Any) -> list[Item]:
    return list(FolderSource(root, format="masks", **options).read({}))


def mask(path: Path, *regions: Corners, level: int = 255, size: tuple[int, int] = (40, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((size[1], size[0]), np.uint8)
    for x0, y0, x1, y1 in regions:
        values[int(y0) : int(y1), int(x0) : int(x1)] = level
    Image.fromarray(values).save(path)


@pytest.mark.parametrize("level", [1, 128, 255])
def test_beside_the_pictures(tmp_path: Path, level: int) -> None:
    for seed, name in enumerate(("a", "p1/b", "black", "bare")):
        picture(tmp_path / f"images/{name}.png", seed)
    mask(tmp_path / "masks/a.png", (3, 2, 9, 8), (20, 5, 21, 6), level=level)
    mask(tmp_path / "masks/p1/b.png", (3, 2, 9, 8), (9, 8, 12, 10), level=level)  # they touch at a corner
    mask(tmp_path / "masks/black.png")
    items = read(tmp_path, category="Cyst")
    found = {"images/a.png": [(3, 2, 9, 8), (20, 5, 21, 6)], "images/p1/b.png": [(3, 2, 12, 10)]}
    assert boxes(items) == {**found, "images/black.png": []}, "a black mask says that nothing is there"
    assert lost(items) == {"images/black.png": "unlabeled", "images/bare.png": "unlabeled"}
    assert {i.category for i in items if isinstance(i, Record) and i.boxes} == {"cyst"}


def test_in_a_folder_for_each_category(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.png")
    mask(tmp_path / "seg/Lung_Tumor/a.png", (3, 2, 9, 8))
    mask(tmp_path / "seg/cyst/a.png", (30, 2, 40, 20))
    mask(tmp_path / "seg/edema/a.png")
    items = read(tmp_path, annotations="seg")
    assert boxes(items) == {"images/a.png#1": [(3, 2, 9, 8)], "images/a.png#2": [(30, 2, 40, 20)]}
    assert [i.category for i in items if isinstance(i, Record)] == ["lung tumor", "cyst"]
    mask(tmp_path / "seg/loose.png")
    with pytest.raises(InputError, match=r"seg: loose\.png has no category"):
        read(tmp_path, annotations="seg")


def test_as_jpeg_palette_color_or_16_bits(tmp_path: Path) -> None:
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
    found = boxes(read(tmp_path, category="cyst"))
    assert found == {f"images/{name[:-4]}.png": [(8, 4, 24, 16)] for name in [*made, "palette.png"]}


def test_defects(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    mask(outside, (3, 2, 9, 8))
    for seed, name in enumerate(("good", "double", "size", "gray", "text", "link", "folder")):
        picture(tmp_path / f"images/{name}.png", seed)
    mask(tmp_path / "masks/good.png", (3, 2, 9, 8))
    mask(tmp_path / "masks/size.png", (3, 2, 9, 8), size=(80, 45))
    mask(tmp_path / "masks/double.png", (6, 4, 18, 16), size=(80, 40))
    mask(tmp_path / "masks/gray.png", (3, 2, 9, 8), level=7)
    mask(tmp_path / "masks/gone.png", (3, 2, 9, 8))
    (tmp_path / "masks/text.png").write_text("no picture")
    (tmp_path / "masks/link.png").symlink_to(outside)
    (tmp_path / "masks/folder.png").symlink_to(tmp_path / "images")
    items = read(tmp_path, category="cyst")
    assert boxes(items) == {f"images/{name}.png": [(3, 2, 9, 8)] for name in ("double", "good")}
    assert lost(items) == {
        "images/size.png masks/size.png region 1": "malformed",
        **{f"images/{name}.png": "malformed" for name in ("gray", "text", "link", "folder")},
        "masks/gone.png": "missing_file",
    }


def test_without_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images: no file"):
        read(tmp_path, category="cyst")
    picture(tmp_path / "images/a.png")
    with pytest.raises(InputError, match="masks: no file"):
        read(tmp_path, category="cyst")
