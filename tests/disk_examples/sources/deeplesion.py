"""A tiny SYNTHETIC DeepLesion: two rows of the released list verbatim, the others made up; all pictures drawn."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from umed.data.sources.base import Example
from umed.synthetic.formats import DEEPLESION_HEADER

RELEASED = (
    '000001_01_01_109.png,1,1,1,109,"233.537, 95.0204, 234.057, 106.977, 231.169, 101.605, 236.252, 101.143",'
    '"226.169, 90.0204, 241.252, 111.977","11.9677, 5.10387","0.44666, 0.283794, 0.434454",3,0,"103, 115",'
    '"0.488281, 0.488281, 5","512, 512","-175, 275",F,62,3',
    '000001_02_01_014.png,1,2,1,14,"224.826, 289.296, 224.016, 305.294, 222.396, 297.194, 228.978, 297.903",'
    '"217.396, 284.296, 233.978, 310.294","16.019, 6.61971","0.431015, 0.485238, 0.340745",3,0,"8, 23",'
    '"0.314453, 0.314453, 5","512, 512","-175, 275",F,72,3',
)
TISSUE, LESION = 32768 - 1000, 32768 + 40  # HU + 32768


def write_example(root: Path) -> Example:
    """Write `DL_info.csv` and the slices; see `Example`."""
    rows = [
        *RELEASED,
        row("000002_01_01_050.png", (101, 121, 141, 151), kind=5, window="-1500, 500"),
        row("000003_01_01_020.png", (11, 21, 41, 51), noisy=1),
        row("000002_01_01_050.png", (201, 221, 241, 261), kind=4),  # the same slice again, further down
        row("000002_01_01_050.png", (301, 321, 341, 361), kind=5, window="-1500, 500"),
        row("000004_01_01_030.png", (12, 22, 42, 52), kind=-1, split=1),
        row("001064_01_01_200.png", (12, 22, 42, 52)),
        row("000005_01_01_010.png", (-4, 501, 31, 531), kind=7, age="NaN"),  # the padding passes the border
        row("000005_01_01_010.png", (531, 21, 561, 51), kind=7),
        row("000006_01_01_010.png", (13, 23, 43, 53), kind=8),
        row("000006_01_02_011.png", (14, 24, 44, 54), kind=8),
        row("000007_01_01_010.png", (15, 25, 45, 55), kind=2),
        row("000008_01_01_010.png", (16, 26, 46, 56), kind=1, size="256, 256"),
        row("000009_01_01_010.png", (17, 27, 47, 57), kind=6),
        row("000010_01_01_010.png", (18, 28, 48, 58), kind=9),
        row("000010_01_01_010.png", (18, 28, 48, 58), window="275, -175"),
        row("000010_01_01_010.png", (18, 28, 48, 58)).replace('"18, 28, 48, 58"', '"18, 28, 48"'),
        row("000010_01_01_010.png", (18, 28, 48, 58)).rpartition(",")[0],
    ]
    (root / "DL_info.csv").write_text("\n".join([DEEPLESION_HEADER, *rows]) + "\n", encoding="utf-8")
    pictures = root / "Images_png"
    draw(pictures / "000001_01_01/109.png", [(225, 89, 240, 111)])
    draw(pictures / "000001_02_01/014.png", [(216, 283, 233, 309)])
    draw(pictures / "000002_01_01/050.png", [(100, 120, 140, 150), (200, 220, 240, 260), (300, 320, 340, 360)])
    draw(pictures / "000003_01_01/020.png", [(10, 20, 40, 50)])
    draw(pictures / "000004_01_01/030.png", [(11, 21, 41, 51)])
    (pictures / "001064_01_01").mkdir()
    (pictures / "001064_01_01/200.png").write_bytes(b"\x89PNG, as broken as in the release")
    draw(pictures / "000005_01_01/010.png", [(0, 500, 30, 512)])
    cut = draw(pictures / "000006_01_01/010.png", [(12, 22, 42, 52)])
    cut.write_bytes(cut.read_bytes()[:200])  # the other slice of this patient is not there at all
    draw(pictures / "000007_01_01/010.png", [(14, 24, 44, 54)], is_windowed=True)
    draw(pictures / "000008_01_01/010.png", [(15, 25, 45, 55)], side=256)
    (pictures / "000009_01_01").mkdir()
    shutil.copy(pictures / "000001_01_01/109.png", pictures / "000009_01_01/010.png")
    draw(pictures / "000010_01_01/010.png", [(17, 27, 47, 57)])
    return Example(
        records={
            "deeplesion/000001_01_01_109.png": [(225.169, 89.0204, 240.252, 110.977)],
            "deeplesion/000001_02_01_014.png": [(216.396, 283.296, 232.978, 309.294)],
            "deeplesion/000002_01_01_050.png#1": [(100, 120, 140, 150), (300, 320, 340, 360)],
            "deeplesion/000002_01_01_050.png#2": [(200, 220, 240, 260)],
            "deeplesion/000005_01_01_010.png": [(0, 500, 30, 512)],
            "deeplesion/000007_01_01_010.png": [(14, 24, 44, 54)],
            "deeplesion/000008_01_01_010.png": [(15, 25, 45, 55)],
        },
        dropped={
            "noisy": 1,
            "unlabeled": 1,
            "unreadable": 2,
            "out_of_frame": 1,
            "missing_file": 1,
            "duplicate": 1,
            "malformed": 4,
        },
    )


def row(
    name: str,
    box: tuple[float, float, float, float],
    *,
    kind: int = 5,
    noisy: int = 0,
    window: str = "-175, 275",
    split: int = 2,
    age: str = "62",
    size: str = "512, 512",
) -> str:
    """A row of the list; `box` is 1-based and 5 px wider than the two diameters that are made up for it."""
    patient, study, series, number = (int(part) for part in name.removesuffix(".png").split("_"))
    x0, y0, x1, y1 = box
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    ends = f"{x0 + 5}, {y}, {x1 - 5}, {y}, {x}, {y0 + 5}, {x}, {y1 - 5}"
    return (
        f'{name},{patient},{study},{series},{number},"{ends}","{x0}, {y0}, {x1}, {y1}",'
        f'"{x1 - x0 - 10}, {y1 - y0 - 10}","0.5, 0.5, 0.5",{kind},{noisy},"{number - 6}, {number + 6}",'
        f'"0.8, 0.8, 5","{size}","{window}",F,{age},{split}'
    )


def draw(path: Path, lesions: Sequence[tuple[int, int, int, int]], side: int = 512, is_windowed: bool = False) -> Path:
    """A slice of 16 bits, bright in the boxes (0-based), or its copy of 8 bits."""
    values = np.full((side, side), TISSUE, np.uint16)
    for x0, y0, x1, y1 in lesions:
        values[y0:y1, x0:x1] = LESION
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(((values == LESION) * 255).astype(np.uint8) if is_windowed else values).save(path)
    return path
