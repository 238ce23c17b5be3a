"""The embedded SYNTHETIC data: five drawn stand-ins for the MAU sources, in the on-disk formats of these."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from umed.data.sources.base import Item, PictureSource
from umed.data.sources.deeplesion import DeepLesionSource
from umed.data.sources.kidney_stone import KidneyStoneSource
from umed.data.sources.kvasir import KvasirSource
from umed.data.sources.nih_chest import NihChestSource
from umed.data.sources.seen import Seen
from umed.data.sources.tbx11k import Tbx11kSource
from umed.errors import InputError
from umed.synthetic.drawn_once import draw_once, is_drawn
from umed.synthetic.formats import FORMATS, KVASIR_CONTROLS, Drawn
from umed.synthetic.pictures import CONTROLS, PARTS, draw, draw_control

VERSION = 5  # raised when the same seed would write other files
FIRST_CONTROL = 100_000  # numbers and patients of controls begin here: no other picture has them
NOTE = "SYNTHETIC pictures, drawn by a program in the manner of"
OPTION = "data.source.phantom.root"
PARSERS: dict[str, type[PictureSource]] = {
    "phantom_deeplesion": DeepLesionSource,
    "phantom_kidney_stone": KidneyStoneSource,
    "phantom_nih_chest": NihChestSource,
    "phantom_tbx11k": Tbx11kSource,
    "phantom_kvasir": KvasirSource,
}


class PhantomSource:
    """Draws each part once into `<root>/<part>`; a part that lies there already is read again.

    Args:
        root: folder of the five parts.
        num_images: per part; a fourth as many normal ones come to each part of `CONTROLS`, as controls.
        seed: picture i of a part depends on the seed and i only.
    """

    def __init__(self, root: str, num_images: int = 320, seed: int = 7) -> None:
        if num_images < 1 or seed < 0:
            raise InputError(f"phantom: num_images={num_images}, seed={seed}: at least 1 picture, no negative seed")
        self.root, self.num_images, self.seed = Path(root), num_images, seed

    @property
    def roots(self) -> dict[str, Path]:
        return {name: root for part in PARTS for name, root in self._parser(part, self.root / part).roots.items()}

    def read(self, seen: Seen, workers: int = 1) -> Iterator[Item]:
        """The records of all parts.

        Raises:
            InputError: a part was drawn with other parameters.
        """
        for part in PARTS:
            folder = self.root / part
            if not is_drawn(folder, self._parameters, OPTION):
                note = f"{NOTE} {part[8:]}; no patient\n"
                draw_once(folder, self._parameters, OPTION, note, partial(self._write, part))
            yield from self._parser(part, folder).read(seen, workers)

    def _parser(self, part: str, folder: Path) -> PictureSource:
        """The real parser of a part, told to read its normal pictures too."""
        options: dict[str, Any] = {"phantom_nih_chest": {"controls": self.num_images // 4}}.get(part, {})
        if part == "phantom_kvasir" and self.num_images // 4:
            options = {"controls_root": folder / KVASIR_CONTROLS}
        return PARSERS[part](root=folder, name=part, **options)

    @property
    def _parameters(self) -> dict[str, int]:
        return {"version": VERSION, "num_images": self.num_images, "seed": self.seed}

    def _write(self, part: str, folder: Path) -> dict[str, Any]:
        FORMATS[part](folder, self._drawn(part))
        return {}

    def _drawn(self, part: str) -> Drawn:
        numbers = range(self.num_images)
        for i in tqdm(numbers, desc=f"drawing {part} (synthetic)", unit="picture", leave=False, disable=None):
            drawing, patient = draw(part, self.seed, i)
            yield i, patient, drawing
        for i in range(self.num_images // 4 if part in CONTROLS else 0):
            yield FIRST_CONTROL + i, FIRST_CONTROL + i, draw_control(part, self.seed, i)
