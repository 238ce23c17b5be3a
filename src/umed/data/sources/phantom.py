"""The embedded SYNTHETIC data: five drawn stand-ins for the MAU sources, written to disk as ordinary COCO."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from umed.data.phantom import PARTS, draw
from umed.data.sources.folder import FolderSource
from umed.errors import InputError
from umed.records import Dropped, Record

VERSION = 2  # raised when the same seed would draw other pictures


class PhantomSource:
    """Draws each part once into `<root>/<part>`; a part that lies there already is read again.

    Args:
        root: folder of the five parts.
        num_images: per part.
        seed: picture i of a part depends on the seed and i only.
    """

    def __init__(self, root: str, num_images: int = 320, seed: int = 7) -> None:
        if num_images < 1 or seed < 0:
            raise InputError(f"phantom: num_images={num_images}, seed={seed}: at least 1 picture, no negative seed")
        self.root, self.num_images, self.seed = Path(root), num_images, seed

    @property
    def roots(self) -> dict[str, Path]:
        return {part: self.root / part for part in PARTS}

    def read(self) -> Iterator[Record | Dropped]:
        """The records of all parts.

        Raises:
            InputError: a part was drawn with other parameters.
        """
        for part, folder in self.roots.items():
            if not self._is_drawn(folder):
                self._draw(part, folder)
            yield from FolderSource(str(folder), name=part).read()

    @property
    def _parameters(self) -> dict[str, int]:
        return {"version": VERSION, "num_images": self.num_images, "seed": self.seed}

    def _is_drawn(self, folder: Path) -> bool:
        if not folder.exists():
            return False
        try:
            there = json.loads((folder / "phantom.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            there = "something else"
        if there != self._parameters:
            raise InputError(
                f"{folder} holds {there}, asked for is {self._parameters}: remove it or set data.source.phantom.root"
            )
        return True

    def _draw(self, part: str, folder: Path) -> None:
        """Write a whole part beside its place, then rename it: nobody ever reads half of it."""
        self.root.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{part}.", dir=self.root))
        try:
            (half / "images").mkdir()
            (half / "annotations.json").write_text(json.dumps(self._coco(part, half)), encoding="utf-8")
            (half / "phantom.json").write_text(json.dumps(self._parameters), encoding="utf-8")
            half.chmod(0o755)
            try:
                half.rename(folder)
            except OSError:  # another run was faster; its pictures are the same or it is refused
                if not self._is_drawn(folder):
                    raise
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def _coco(self, part: str, folder: Path) -> dict[str, Any]:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        categories: dict[str, int] = {}
        for i in tqdm(
            range(self.num_images), desc=f"drawing {part} (synthetic)", unit="picture", leave=False, disable=None
        ):
            (picture, lesions), patient = draw(part, self.seed, i)
            name = f"images/{i:05d}.png"
            picture.save(folder / name, compress_level=1)
            width, height = picture.size
            image = {"id": i + 1, "file_name": name, "width": width, "height": height}
            images.append({**image, "modality": PARTS[part][0], "group": patient})
            for lesion in lesions:
                entry = {"id": len(annotations) + 1, "image_id": i + 1, "bbox": lesion.bbox, "iscrowd": 0}
                category = categories.setdefault(lesion.category, len(categories) + 1)
                annotations.append({**entry, "category_id": category, "area": int(lesion.mask.sum())})
        return {
            "info": {"description": f"SYNTHETIC pictures, drawn by a program in the manner of {part[8:]}; no patient"},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": number, "name": name} for name, number in categories.items()],
        }
