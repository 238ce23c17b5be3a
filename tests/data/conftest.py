"""A COCO file that tests of its format and of the `folder` source share."""

from pathlib import Path
from typing import Any

import pytest
from items import annotation, draw


@pytest.fixture
def coco(tmp_path: Path) -> dict[str, Any]:
    """One picture of 40x20, one box; category ids neither start at 0 nor are dense."""
    draw(tmp_path / "a/one.png")
    return {
        "images": [{"id": 1, "file_name": "a/one.png"}],
        "annotations": [annotation(10, [4, 5, 8, 10])],
        "categories": [{"id": 5, "name": " Lung_Tumor "}, {"id": 9, "name": "Cyst"}],
    }
