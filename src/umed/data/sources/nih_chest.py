"""NIH ChestX-ray14: the 880 chest films that have boxes."""

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from umed.boxes import Box
from umed.data.sources.base import Picture, PictureSource, Region, plain
from umed.data.sources.files import finite, printable, read_rows, read_text
from umed.errors import InputError
from umed.records import Dropped, is_text

ALIASES = {"infiltrate": "infiltration"}  # the box list's word -> the label list's
DAYS = {"Y": 365, "M": 30, "D": 1}
_NAME = re.compile(r"([0-9]+)_[0-9]+\.png")
_AGE = re.compile(r"([0-9]{1,4})([YMD]?)")


class NihChestSource(PictureSource):
    """Frontal chest films with boxes; films without one are not listed at all.

    The columns of both lists are read by their position: their headers hold commas inside names.

    Args:
        root: folder with `BBox_List_2017.csv`, optionally `Data_Entry_2017*.csv` and `train_val_list.txt`, and the
            pictures in `images_001/images/` and so on, `images_001/`, or all in `images/`.
        name: of the source in records and metrics.
        frame: width and height of the picture that the boxes refer to, whatever size is stored.

    Raises:
        InputError: a frame that is not two positive numbers.
    """

    def __init__(self, root: str | Path, name: str = "nih_chest", frame: Sequence[float] = (1024, 1024)) -> None:
        super().__init__(root, name)
        try:
            width, height = map(float, frame)
        except (TypeError, ValueError):
            width = height = 0.0
        if not (0 < width < math.inf and 0 < height < math.inf):
            raise InputError(f"data.source.{name}.frame={frame}: width and height are expected, as [1024, 1024]")
        self.frame = width, height

    def pictures(self) -> Iterator[Picture | Dropped]:
        """The rows that are dropped, as `<file name> row <line of the file>`, then each film with its boxes."""
        found: dict[str, list[tuple[int, list[str], tuple[float, ...]]]] = defaultdict(list)
        for line, cells in self._rows():
            name = cells[0]
            item = f"{printable(name)} row {line}".strip()
            try:
                if len(cells) < 6:
                    raise ValueError(f"{len(cells)} fields, at least 6 are expected")
                if not _NAME.fullmatch(name):
                    raise ValueError("Image Index is not patient_number.png")
                if not is_text(cells[1]):
                    raise ValueError(f"Finding Label is {printable(cells[1])}")
                numbers = finite(cells[2:6])
            except ValueError as error:
                yield Dropped(self.name, item, "malformed", str(error))
                continue
            found[name].append((line, cells[:6], numbers))
        entries, others = self._entries(found.keys()), self._train_val(found.keys())
        folders = self._folders()
        for name, boxes in found.items():
            yield Picture(
                image=next((f"{f}/{name}" for f in folders if os.path.isfile(self.root / f / name)), f"images/{name}"),
                name=name,
                modality="X-ray",
                regions=[
                    Region(
                        category=_category(cells[1]),
                        box=partial(self._box, numbers),
                        where=f"row {line}",
                        raw={"row": cells, **entries.get(name, {})},
                    )
                    for line, cells, numbers in boxes
                ],
                group=name.partition("_")[0],
                official_split="train_val" if name in others else "test",
            )

    def _box(self, numbers: Sequence[float], width: int, height: int) -> Box:
        return Box.from_xywh(numbers, *self.frame)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the header."""
        path = self.root / "BBox_List_2017.csv"
        rows = read_rows(path, "the list of boxes")
        _, header = next(rows, (0, []))
        if not header or _NAME.fullmatch(header[0].strip()):
            raise InputError(f"{path}: no header, so its first box would be lost: take the file as released")
        for line, cells in rows:
            yield line, [cell.strip() for cell in cells]

    def _entries(self, names: Set[str]) -> dict[str, dict[str, Any]]:
        """What the list of all films says of these; of several versions the latest is read."""
        versions = sorted(self.root.glob("Data_Entry_2017*.csv"))
        if not versions:
            return {}
        rows = read_rows(versions[-1], "the list of all films")
        return {cells[0].strip(): _entry(cells) for _, cells in rows if cells[0].strip() in names}

    def _train_val(self, names: Set[str]) -> set[str]:
        """Those of these films that are not of the official test part; as released, none is."""
        path = self.root / "train_val_list.txt"
        if not path.is_file():
            return set()
        return {
            line.strip() for line in read_text(path, "the list of training films").splitlines() if line.strip() in names
        }

    def _folders(self) -> list[str]:
        """Where films may lie, relative to the root."""
        parts = sorted(path.name for path in self.root.glob("images_[0-9]*") if path.is_dir())
        return ["images", *(f"{part}/images" for part in parts), *parts]


def _category(label: str) -> str:
    return ALIASES.get(plain(label), plain(label))


def _entry(cells: Sequence[str]) -> dict[str, Any]:
    """Columns 2, 3, 5, 6 and 7; one that is not there is left out. `age` in years, None if it is no age."""
    cells = [cell.strip() for cell in cells]
    columns = (("findings", 1), ("follow_up", 2), ("age", 4), ("sex", 5), ("view", 6))
    entry: dict[str, Any] = {key: cells[place] for key, place in columns if place < len(cells)}
    if "age" in entry:
        match = _AGE.fullmatch(entry["age"])
        entry["age"] = int(match[1]) * DAYS[match[2] or "Y"] // 365 if match else None
    return entry
