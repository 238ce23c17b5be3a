"""NIH ChestX-ray14: the 880 chest films that have boxes, and films without a finding."""

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

from umed.boxes import Box
from umed.data.files import normalize_category, parse_finite, read_rows, read_text
from umed.data.frames import Frame
from umed.data.sources.base import Picture, PictureSource, Region
from umed.errors import InputError
from umed.records import Dropped

ALIASES = {"infiltrate": "infiltration"}  # the box list's word -> the label list's
NO_FINDING = "no finding"
DAYS = {"Y": 365, "M": 30, "D": 1}
_NAME = re.compile(r"([0-9]+)_[0-9]+\.png")
_AGE = re.compile(r"([0-9]{1,4})([YMD]?)")


class NihChestSource(PictureSource):
    """Frontal chest films with boxes; other films are not listed, except for controls.

    The columns of both lists are read by their position: their headers hold commas inside names. Raises InputError: a
    frame that is not two positive numbers, controls that are no number, or no list to take them from.

    Args:
        root: folder with `BBox_List_2017.csv`, optionally `Data_Entry_2017*.csv` and `train_val_list.txt`, and the
            pictures in `images_001/images/` and so on, `images_001/`, or all in `images/`.
        frame: width and height of the picture that the boxes refer to. Films of another size are read if they have its
            aspect, or that of the original film in `Data_Entry_2017*.csv`.
        controls: at most so many films labeled "No Finding", the first of each patient whose picture is there.
    """

    name = "nih_chest"

    def __init__(
        self, root: str | Path, name: str | None = None, frame: Sequence[float] = (1024, 1024), controls: int = 0
    ) -> None:
        super().__init__(root, name)
        try:
            width, height = map(float, frame)
        except (TypeError, ValueError):
            width = height = 0.0
        if not (0 < width < math.inf and 0 < height < math.inf):
            raise InputError(f"data.source.{self.name}.frame={frame}: width and height are expected, as [1024, 1024]")
        self.frame = width, height
        if type(controls) is not int or controls < 0:
            raise InputError(f"data.source.{self.name}.controls={controls}: a number of films is expected, or 0")
        self.controls = controls

    def list_pictures(self) -> Iterator[Picture | Dropped]:
        """The rows that are dropped, as `<file name> row <line of the file>`, each film with its boxes, controls."""
        rows: dict[str, list[tuple[int, list[str], tuple[float, ...]]]] = defaultdict(list)
        for line, cells in self._read_rows():
            name = cells[0]
            try:
                if len(cells) < 6:
                    raise ValueError(f"{len(cells)} fields, at least 6 are expected")
                if not _NAME.fullmatch(name):
                    raise ValueError("Image Index is not patient_number.png")
                numbers = parse_finite(cells[2:6])
            except ValueError as error:
                yield Dropped(self.name, f"{name} row {line}".strip(), "malformed", str(error))
                continue
            rows[name].append((line, cells[:6], numbers))
        entries, path = self._read_entries(rows.keys()), self.root / "train_val_list.txt"
        # the films that are not of the official test part; as released, none of those with boxes is
        train_val = set(read_text(path, "the list of training films").split()) if path.is_file() else set()
        folders = self._list_folders()
        for name, of_film in rows.items():
            entry = entries.get(name, [])
            frame = Frame(*self.frame, original=_parse_original(entry))
            yield Picture(
                image=self._find(name, folders) or f"images/{name}",
                name=name,
                modality="X-ray",
                regions=[
                    Region(
                        category=_map_category(cells[1]),
                        box=partial(Box.from_xywh, numbers),
                        where=f"row {line}",
                        raw={"row": cells, **_parse_entry(entry)},
                        frame=frame,
                    )
                    for line, cells, numbers in of_film
                ],
                group=name.partition("_")[0],
                official_split="train_val" if name in train_val else "test",
            )
        if self.controls:
            yield from self._list_controls(rows.keys(), folders, train_val)

    def _list_controls(self, boxed: Set[str], folders: Sequence[str], train_val: Set[str]) -> Iterator[Picture]:
        count, patients = 0, set()
        for cells in self._read_all_entries(f"data.source.{self.name}.controls={self.controls}"):
            if count == self.controls:
                break
            name, patient = cells[0], cells[0].partition("_")[0]
            labels = normalize_category(cells[1]) if len(cells) > 1 else ""
            if labels != NO_FINDING or patient in patients or name in boxed or not _NAME.fullmatch(name):
                continue
            if image := self._find(name, folders):
                patients.add(patient)
                count += 1
                yield Picture(
                    image,
                    name,
                    "X-ray",
                    group=patient,
                    official_split="train_val" if name in train_val else "test",
                    without="No Finding",
                    is_control=True,
                )

    def _list_folders(self) -> list[str]:
        parts = sorted(path.name for path in self.root.glob("images_[0-9]*") if path.is_dir())
        return ["images", *(f"{part}/images" for part in parts), *parts]

    def _find(self, name: str, folders: Sequence[str]) -> str | None:
        """The file of a film, relative to the root; None where it is not there."""
        return next((f"{folder}/{name}" for folder in folders if os.path.isfile(self.root / folder / name)), None)

    def _read_rows(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the header."""
        path = self.root / "BBox_List_2017.csv"
        rows = read_rows(path, "the list of boxes")
        _, header = next(rows, (0, []))
        if not header or _NAME.fullmatch(header[0]):
            raise InputError(f"{path}: no header, so its first box would be lost: take the file as released")
        return rows

    def _read_entries(self, names: Set[str]) -> dict[str, list[str]]:
        """The rows of these in the list of all films."""
        return {cells[0]: cells for cells in self._read_all_entries() if cells[0] in names}

    def _read_all_entries(self, needed_by: str = "") -> Iterator[list[str]]:
        """The list of all films, of several versions the latest. Raises InputError: there is none, but it is needed."""
        versions = sorted(self.root.glob("Data_Entry_2017*.csv"))
        if needed_by and not versions:
            raise InputError(f"{needed_by}: no Data_Entry_2017*.csv in {self.root} says which films are normal")
        rows = read_rows(versions[-1], "the list of all films") if versions else ()
        return (cells for _, cells in rows)


def _map_category(label: str) -> str:
    return ALIASES.get(normalize_category(label), normalize_category(label))


def _parse_entry(cells: Sequence[str]) -> dict[str, Any]:
    """Columns 2, 3, 5, 6 and 7; one that is not there is left out. `age` in years, None if it is no age."""
    columns = (("findings", 1), ("follow_up", 2), ("age", 4), ("sex", 5), ("view", 6))
    entry: dict[str, Any] = {key: cells[place] for key, place in columns if place < len(cells)}
    if "age" in entry:
        match = _AGE.fullmatch(entry["age"])
        entry["age"] = int(match[1]) * DAYS[match[2] or "Y"] // 365 if match else None
    return entry


def _parse_original(cells: Sequence[str]) -> tuple[float, float] | None:
    """Columns 8 and 9: width and height of the film before the release brought it to the frame."""
    try:
        width, height = parse_finite(cells[7:9])
    except ValueError:
        return None
    return width, height
