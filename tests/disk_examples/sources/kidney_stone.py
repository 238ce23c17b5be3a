"""A tiny SYNTHETIC KidneyStone: `data.yaml` as released, names in the released style; all pictures are plain."""

from pathlib import Path

from PIL import Image

from umed.data.sources.base import Example

DATA_YAML = """train: ../train/images
val: ../valid/images
test: ../test/images
nc: 1
names: ['Tas_Var']
"""
UID = "1-3-46-670589-33-1-63700700749865510700001"
SLICE = f"{UID}-5062181202000819812_png_jpg"
NEIGHBOR = f"{UID}-5062181202000819813_png_jpg"
WIDTH, HEIGHT = 391, 320
ONE = "0 0.5 0.5 0.25 0.5\n"
ONE_BOX = (146.625, 80.0, 244.375, 240.0)


def write_example(root: Path) -> Example:
    """Write `data.yaml` and the three folders; see `Example`."""
    (root / "data.yaml").write_text(DATA_YAML, encoding="utf-8")
    twins = [f"{SLICE}.rf.{digit * 32}.jpg" for digit in "abc"]
    add(root, f"train/{twins[0]}", 10, ONE)
    add(root, f"train/{twins[1]}", 20, "0 0.25 0.25 0.5 0.25\n0 0.75 0.75 0.125 0.125")
    add(root, f"train/{twins[2]}", 10, ONE)  # the same pixels as the first
    add(root, f"train/{NEIGHBOR}.rf.{'d' * 32}.jpg", 30, ONE)
    add(root, "train/empty.rf.0.jpg", 40, "\n")
    add(root, "train/none.jpg", 50, None)
    add(root, "valid/border.png", 60, "0 0.0 1.0 0.5 0.5\r\n")
    lines = ["0 0.5 0.5 0.5", "0 0.5 0.5 0.5 1.5", "1 0.5 0.5 0.5 0.5", "0 nan 0.5 0.5 0.5", ONE, "0 0.5 0.5 0 0.5"]
    add(root, "valid/lines.jpeg", 70, "\n".join(lines))
    (root / "valid/labels/gone.txt").write_text(ONE, encoding="utf-8")
    cut = add(root, "test/cut.jpg", 80, ONE)
    cut.write_bytes(cut.read_bytes()[:300])
    add(root, "test/notes.txt.jpg", 90, ONE).write_text("no picture", encoding="utf-8")
    return Example(
        records={
            f"kidney_stone/train/{twins[0]}": [ONE_BOX],
            f"kidney_stone/train/{twins[1]}": [(0, 40, 195.5, 120), (268.8125, 220, 317.6875, 260)],
            f"kidney_stone/train/{NEIGHBOR}.rf.{'d' * 32}.jpg": [ONE_BOX],
            "kidney_stone/valid/border.png": [(0, 240, 97.75, 320)],
            "kidney_stone/valid/lines.jpeg": [ONE_BOX],
        },
        dropped={"duplicate": 1, "unlabeled": 2, "malformed": 4, "out_of_frame": 1, "missing_file": 1, "unreadable": 2},
        controls=1,
    )


def add(root: Path, name: str, gray: int, label: str | None) -> Path:
    """A plain slice of one gray as `<folder>/<file name>`, with its label file unless that is None."""
    part, file = name.split("/")
    for folder in ("images", "labels"):
        (root / part / folder).mkdir(parents=True, exist_ok=True)
    if label is not None:
        stem = file.rpartition(".")[0]
        (root / part / "labels" / f"{stem}.txt").write_text(label, encoding="utf-8", newline="")
    path = root / part / "images" / file
    Image.new("L", (WIDTH, HEIGHT), gray).save(path)
    return path
