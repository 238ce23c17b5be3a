"""Questions and pictures written as the benchmarks are released: for SYNTHETIC stand-ins and examples."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Pictures = Mapping[str, Image.Image]
CHOICES = ("Choice A", "Choice B", "Choice C", "Choice D")
PMC_V1 = ("Figure_path", "Question", "Answer", *CHOICES, "Answer_label")
PMC_V2 = ("index", "Figure_path", "Caption", "Question", *CHOICES, "Answer", "split")


def write_vqa_rad(root: Path, rows: Sequence[Mapping[str, Any]], pictures: Pictures) -> None:
    """One JSON of all parts and one folder of JPEG."""
    _save(root / "VQA_RAD Image Folder", pictures)
    _json(root / "VQA_RAD Dataset Public.json", rows)


def write_slake(root: Path, parts: Mapping[str, Sequence[Mapping[str, Any]]], pictures: Pictures) -> None:
    """A JSON each part, named as its key, and `imgs/xmlab<k>/source.jpg`."""
    _save(root / "imgs", pictures)
    for name, rows in parts.items():
        _json(root / f"{name}.json", rows)


def write_pmc_vqa(
    root: Path, file: str, header: Sequence[str], rows: Sequence[Sequence[str]], pictures: Pictures
) -> None:
    """A CSV with these columns; pictures in `images/`, or in `figures/` where the columns are version 2's."""
    _save(root / ("figures" if "split" in header else "images"), pictures)
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    (root / file).write_text(text.getvalue(), encoding="utf-8", newline="")


def write_medmnist(path: Path, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Pictures and labels of `train`, `val` and `test` as .npz; its MD5."""
    arrays: dict[str, np.ndarray] = {}
    for part, (images, labels) in parts.items():
        arrays |= {f"{part}_images": images.astype(np.uint8), f"{part}_labels": labels.astype(np.uint8).reshape(-1, 1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _json(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def _save(folder: Path, pictures: Pictures) -> None:
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.convert("RGB").save(folder / name, quality=95)
