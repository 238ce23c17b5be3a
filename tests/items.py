"""Pictures to read, and what reading a source gave: for the tests of data/."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from umed.data.sources.base import Item
from umed.data.sources.folder import FolderSource
from umed.records import Dropped, Record

Corners = tuple[float, float, float, float]
SIZE = WIDTH, HEIGHT = 40, 20


def draw(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """A picture of noise, another one for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def records(items: Iterable[Item]) -> dict[str, Record]:
    """By id, without the name of the source."""
    return {item.id.partition("/")[2]: item for item in items if isinstance(item, Record)}


def boxes(items: Iterable[Item]) -> dict[str, list[Corners]]:
    """Pixel corners by id, without the name of the source."""
    return {
        name: [pytest.approx(box.to_xyxy(r.width, r.height), abs=1e-6) for box in r.boxes]
        for name, r in records(items).items()
    }


def lost(items: Iterable[Item]) -> dict[str, str]:
    """Reasons of dropped items."""
    return {item.item: item.reason for item in items if isinstance(item, Dropped)}


def annotation(number: int, bbox: list[float], image: int = 1, category: int = 5, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **more}


def read_coco(root: Path, coco: Any, **options: Any) -> list[Item]:
    (root / "annotations.json").write_text(json.dumps(coco), encoding="utf-8")
    return list(FolderSource(str(root), **options).read({}))
