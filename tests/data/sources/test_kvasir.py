"""Kvasir-SEG: boxes of the file or of the masks, controls of Kvasir v2, frames that look alike."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from disk_examples.sources.kvasir import FIRST, draw_picture, write_example
from items import boxes, lost, records
from PIL import Image, ImageDraw, ImageOps

from umed.data.sources.base import Item
from umed.data.sources.kvasir import KvasirSource
from umed.errors import InputError
from umed.records import Dropped, Record


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_picture(path, 120, 100, [], seed)


def read(root: Path, **options: Any) -> list[Item]:
    return list(KvasirSource(root, **options).read({}))


def polyps(root: Path, **entries: Any) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "kavsir_bboxes.json").write_text(json.dumps(entries))


def corners(*numbers: Any, label: Any = "polyp") -> dict[str, Any]:
    return {"label": label, **dict(zip(("xmin", "ymin", "xmax", "ymax"), numbers, strict=False))}


def test_the_example_in_words(tmp_path: Path) -> None:
    write_example(tmp_path)
    items = read(tmp_path)
    first = next(i for i in items if isinstance(i, Record) and i.image == f"images/{FIRST}.jpg")
    assert (first.width, first.height, first.category, first.modality) == (622, 529, "polyp", "Endoscopy")
    assert first.provenance["raw"] == [{"xmin": 38, "ymin": 5, "xmax": 430, "ymax": 338}]
    assert lost(items) == {
        "broken.jpg bbox 2": "malformed",
        "broken.jpg bbox 3": "malformed",
        "broken.jpg bbox 4": "malformed",
        "broken.jpg bbox 5": "out_of_frame",
        "cut.jpg": "unreadable",
        "gone.jpg": "missing_file",
        "copy.jpg": "duplicate",
        "unnamed.jpg": "unlabeled",
    }


def test_a_wrong_entry_is_malformed(tmp_path: Path) -> None:
    entries: list[Any] = [3, None, [], {"bbox": None}, {"bbox": {"xmin": 1}}, {"bbox": [3]}]
    entries += [{"bbox": [corners(1, 2, 3)]}]
    entries += [{"bbox": [corners(1, 2, wrong, 4)]} for wrong in ("9", None, True, [9], 10**400, float("inf"))]
    entries += [{"bbox": [corners(1, 2, 3, 4, label=label)]} for label in (None, 3, "\ud800", "a\0")]
    wrong = {f"wrong{number}": entry for number, entry in enumerate(entries)}
    for seed, key in enumerate(("good", *wrong)):
        picture(tmp_path / f"images/{key}.jpg", seed)
    polyps(tmp_path, good={"height": 100, "width": 120, "bbox": [corners(1, 2, 30, 40)]}, **wrong)
    items = read(tmp_path)
    assert boxes(items) == {"good.jpg": [(1, 2, 30, 40)]}
    assert {item.partition(".")[0]: reason for item, reason in lost(items).items()} == dict.fromkeys(wrong, "malformed")


def test_boxes_are_of_the_stated_size(tmp_path: Path) -> None:
    """Copies of 120 x 100: of the same aspect they are read, and nothing is read raw."""
    stated = {(1244, 1037): True, (120, 100): True, (100, 120): False, (120, 90): False, (None, 100): False}
    stated |= {(0, 0): False, ("120", "100"): True, ("wide", 100): False, (True, True): False, (240, -200): False}
    for number, ((width, height), is_copy) in enumerate(stated.items()):
        picture(tmp_path / f"{number}/images/a.jpg", 1)
        polyps(tmp_path / str(number), a={"width": width, "height": height, "bbox": [corners(10, 20, 60, 80)]})
        items = read(tmp_path / str(number))
        if is_copy:
            x, y = (int(width) / 120, int(height) / 100)
            assert boxes(items) == {"a.jpg": [(10 / x, 20 / y, 60 / x, 80 / y)]}
        else:
            assert lost(items) == {"a.jpg bbox 1": "malformed"}


def test_keys_that_are_no_names(tmp_path: Path) -> None:
    picture(tmp_path / "secret.jpg", 5)
    picture(tmp_path / "root/images/a.jpg", 1)
    box = {"height": 100, "width": 120, "bbox": [corners(1, 2, 30, 40)]}
    polyps(
        tmp_path / "root", **{"a": box, "../../secret": box, "\ud800": box, "b\0": box, "": box, "none": {"bbox": []}}
    )
    items = read(tmp_path / "root")
    assert boxes(items) == {"a.jpg": [(1, 2, 30, 40)]}
    assert Counter(lost(items).values()) == {"malformed": 3, "missing_file": 2}
    assert lost(items)["../../secret.jpg"] == "malformed"
    for item in items:
        json.dumps(item.to_json(), ensure_ascii=False).encode()  # it can be written


def test_boxes_of_the_masks(tmp_path: Path) -> None:
    write_example(tmp_path)
    (tmp_path / "images/copy.jpg").unlink()
    Image.new("L", (240, 200)).save(tmp_path / "masks/alone.jpg")
    ImageOps.expand(Image.new("L", (59, 48), 255), 20).save(tmp_path / "masks/broken.jpg")
    picture(tmp_path / "images/black.jpg", 77)
    Image.new("L", (120, 100)).save(tmp_path / "masks/black.jpg")
    items = read(tmp_path, boxes="masks")
    found = {name: r.to_json()["boxes"] for name, r in records(items).items()}
    assert found.keys() == {f"{FIRST}.jpg", "two.jpg"}
    [first], two = found[f"{FIRST}.jpg"], found["two.jpg"]
    assert first == pytest.approx([38, 5, 430, 338], abs=2), "JPEG moves an edge by a pixel"
    assert two == [pytest.approx([10, 20, 60, 80], abs=2), pytest.approx([100, 110, 180, 190], abs=2)]
    assert lost(items) == {
        "alone.jpg": "missing_file",
        "copy.jpg": "missing_file",
        "broken.jpg masks/broken.jpg region 1": "malformed",
        "cut.jpg": "unreadable",
        "unnamed.jpg": "unlabeled",
        "black.jpg": "unlabeled",
    }


def test_specks_of_jpeg_are_no_polyps(tmp_path: Path) -> None:
    picture(tmp_path / "images/a.jpg", 1)
    mask = Image.new("L", (120, 100))
    ImageDraw.Draw(mask).rectangle((20, 20, 59, 49), fill=255)
    ImageDraw.Draw(mask).rectangle((100, 80, 101, 81), fill=255)
    (tmp_path / "masks").mkdir()
    mask.save(tmp_path / "masks/a.jpg", quality=100)
    [box] = records(read(tmp_path, boxes="masks"))["a.jpg"].to_json()["boxes"]
    assert box == pytest.approx([20, 20, 60, 50], abs=1)


def test_controls_of_kvasir_v2(tmp_path: Path) -> None:
    seg, v2 = tmp_path / "seg", tmp_path / "v2"
    write_example(seg)
    picture(v2 / "normal-cecum/n1.jpg", 21)
    picture(v2 / "normal-z-line/n2.jpg", 22)
    (v2 / "normal-z-line/copy.jpg").write_bytes((seg / f"images/{FIRST}.jpg").read_bytes())
    (v2 / "normal-z-line/cut.jpg").write_bytes((v2 / "normal-z-line/n2.jpg").read_bytes()[:300])
    picture(v2 / "polyps/p.jpg", 23)
    picture(v2 / "esophagitis/e.jpg", 24)
    source = KvasirSource(seg, controls_root=str(v2))
    assert source.roots == {"kvasir": seg, "kvasir_controls": v2}
    items = list(source.read({}, workers=2))
    controls = {i.id: i for i in items if isinstance(i, Record) and not i.boxes}
    assert set(controls) == {"kvasir_controls/normal-cecum/n1.jpg", "kvasir_controls/normal-z-line/n2.jpg"}
    assert {(c.source, c.modality) for c in controls.values()} == {("kvasir_controls", "Endoscopy")}
    assert all((v2 / c.image).is_file() for c in controls.values())
    assert {d.item: (d.source, d.reason) for d in items if isinstance(d, Dropped) and "/" in d.item} == {
        "esophagitis/e.jpg": ("kvasir", "unlabeled"),
        "normal-cecum/n1.jpg": ("kvasir", "unlabeled"),
        "normal-z-line/n2.jpg": ("kvasir", "unlabeled"),
        "normal-z-line/copy.jpg": ("kvasir", "duplicate"),
        "normal-z-line/cut.jpg": ("kvasir", "unreadable"),
        "polyps/p.jpg": ("kvasir", "unlabeled"),
    }
    assert len(boxes(items)) == 2 + len(boxes(read(seg)))


def test_frames_that_look_alike_are_one_group(tmp_path: Path) -> None:
    for seed, key in enumerate(("a", "b")):
        picture(tmp_path / f"images/{key}.jpg", seed)
    with Image.open(tmp_path / "images/a.jpg") as frame:
        frame.point(lambda v: min(255, v + 4)).save(tmp_path / "images/next.jpg", quality=70)
    box = {"height": 100, "width": 120, "bbox": [corners(1, 2, 30, 40)]}
    polyps(tmp_path, a=box, b=box, next=box)
    assert {i.id: i.group for i in read(tmp_path) if isinstance(i, Record)} == {
        "kvasir/a.jpg": "a.jpg",
        "kvasir/b.jpg": "b.jpg",
        "kvasir/next.jpg": "a.jpg",
    }


def test_wrong_options_and_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"boxes=xml: choose json or masks"):
        KvasirSource(tmp_path, boxes="xml")
    with pytest.raises(InputError, match=r"no file .*kavsir_bboxes\.json"):
        read(tmp_path)
    with pytest.raises(InputError, match="no pictures in .*images or none in .*masks"):
        read(tmp_path, boxes="masks")
    write_example(tmp_path / "seg")
    (tmp_path / "v2").mkdir()
    with pytest.raises(InputError, match=r"no pictures in .*v2/normal-\*: set .*controls_root to Kvasir v2"):
        read(tmp_path / "seg", controls_root=str(tmp_path / "v2"))
