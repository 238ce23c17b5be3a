"""A tiny SYNTHETIC ChestX-ray14: one row of the released list verbatim, the others made up; all pictures are plain."""

from pathlib import Path

from PIL import Image

from umed.data.sources.base import Corners, Example
from umed.synthetic.formats import NIH_BOXES_HEADER, NIH_ENTRIES_HEADER

SIDE = 256  # of the stored films
QUOTED = 'Image Index,Finding Label,"Bbox [x",y,w,h],,,'  # as some copies have it
RELEASED: tuple[str, Corners] = (
    "00013118_008.png,Atelectasis,225.084745762712,547.019216763771,86.7796610169491,79.1864406779661,,,",
    (225.084745762712, 547.019216763771, 311.8644067796611, 626.2056574417371),
)


def write_example(root: Path) -> Example:
    """Write the lists and the films, in every place where films may lie; see `Example`."""
    rows = [
        NIH_BOXES_HEADER,
        RELEASED[0],
        "00000032_037.png,Infiltrate,100.5,200,300,400",
        "00000072_000.png,Mass,10,20,30,40,,,",
        "00000032_037.png,Nodule,600,700,50,60",  # a second finding of a film that was there before
        "00000032_037.png,Infiltrate,500,200,100,100",
        "00000100_001.png,Effusion,1000,900,100,200",  # passes the border
        "00000101_001.png,Cardiomegaly,512,256,256,512",  # stored as 512 x 512
        "00000102_001.png,Hernia,1,2,3,4",
        "00000103_001.png,Pneumonia,1,2,3",
        "00000103_001.png,Pneumonia,1,2,3,four",
        "00000104_001.png,Pneumonia,1100,20,30,40",
        "00000105_001.png,Pneumothorax,1,2,3,4",
        "00000106_001.png,Pneumothorax,1,2,3,4",
        "00000107_001.png,Mass,1,2,3,4",
        "00000108_001.png,,1,2,3,4",
    ]
    (root / "BBox_List_2017.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    old = [NIH_ENTRIES_HEADER, "00013118_008.png,Atelectasis,8,13118,058Y,M,PA,2048,2500,0.168,0.168,"]
    (root / "Data_Entry_2017.csv").write_text("\n".join(old) + "\n", encoding="utf-8")
    new = [
        NIH_ENTRIES_HEADER.removesuffix(","),
        "00013118_008.png,Atelectasis|Mass,8,13118,58,M,PA,2048,2500,0.168,0.168",
        "00000099_000.png,No Finding,0,99,40,F,AP,2048,2500,0.168,0.168",
        "00000032_037.png,Infiltration|Nodule,37,32,055Y,F,AP,2048,2500,0.168,0.168",
    ]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(new) + "\n", encoding="utf-8")
    (root / "train_val_list.txt").write_text("00000099_000.png\n00000072_000.png\n", encoding="utf-8")
    film(root / "images_001/images/00000032_037.png", 10)
    film(root / "images_001/images/00000099_000.png", 20)  # no box: it is not listed
    film(root / "images_006/images/00013118_008.png", 30)
    film(root / "images_001/00000072_000.png", 40, mode="RGBA")
    film(root / "images/00000100_001.png", 50)
    film(root / "images/00000101_001.png", 60, side=512)
    film(root / "images/00000102_001.png", 70)
    film(root / "images/00000103_001.png", 75)
    film(root / "images/00000104_001.png", 80)
    cut = film(root / "images/00000105_001.png", 90)  # 00000106_001.png is not there at all
    cut.write_bytes(cut.read_bytes()[:200])
    film(root / "images/00000107_001.png", 10)  # the same pixels as 00000032_037.png
    film(root / "images/00000108_001.png", 110)
    frame: dict[str, list[Corners]] = {  # boxes in pixels of 1024 x 1024, as the list has them
        "00013118_008.png": [RELEASED[1]],
        "00000032_037.png#1": [(100.5, 200, 400.5, 600), (500, 200, 600, 300)],
        "00000032_037.png#2": [(600, 700, 650, 760)],
        "00000072_000.png": [(10, 20, 40, 60)],
        "00000100_001.png": [(1000, 900, 1024, 1024)],
        "00000101_001.png": [(512, 256, 768, 768)],
        "00000102_001.png": [(1, 2, 4, 6)],
    }
    sides = {"00000101_001.png": 512}
    return Example(
        records={
            f"nih_chest/{name}": [scale_box(box, sides.get(name, SIDE) / 1024) for box in boxes]
            for name, boxes in frame.items()
        },
        dropped={
            "malformed": 2,
            "out_of_frame": 1,
            "unreadable": 1,
            "missing_file": 1,
            "duplicate": 1,
            "unlabeled": 1,
        },
    )


def scale_box(box: Corners, factor: float) -> Corners:
    x0, y0, x1, y1 = (v * factor for v in box)
    return x0, y0, x1, y1


def film(path: Path, gray: int, mode: str = "L", side: int = SIDE) -> Path:
    """A plain film of one gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (side, side), gray).convert(mode).save(path)
    return path
