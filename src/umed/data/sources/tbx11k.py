"""TBX11K: chest films with boxes of tuberculosis, as released or as the simplified copy with a `data.csv`."""

import ast
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from umed.boxes import Box, BoxError
from umed.data.sources.base import Picture, PictureSource, Region, plain
from umed.data.sources.files import files_below, printable, read_json, read_rows, read_text
from umed.errors import InputError
from umed.records import Dropped, is_text

log = logging.getLogger(__name__)

ALIASES = {
    "activetuberculosis": "active tuberculosis",
    "activetb": "active tuberculosis",
    "obsoletepulmonarytuberculosis": "latent tuberculosis",
    "latenttuberculosis": "latent tuberculosis",
    "latenttb": "latent tuberculosis",
    "pulmonarytuberculosis": "pulmonary tuberculosis",
    "none": "",
}
FILES = (  # the first of these of which a file is there; `trainval` holds both parts
    ("TBX11K_train", "TBX11K_val"),
    ("TBX11K_trainval",),
    ("all_train", "all_val"),
    ("all_trainval",),
    ("TBX11K_trainval_only_tb",),
)
FOLDERS = ("health", "sick", "tb", "extra")
WITHOUT = {
    "health": "healthy",
    "sick": "sick but not tuberculosis",
    "tb": "tuberculosis without a box in the files that were read",
    "extra": "of another data set",
}
WITHHELD = "labels are withheld"
KAGGLE = ("fname", "image_height", "image_width", "source", "bbox", "tb_type", "image_type")
KAGGLE_FOLDERS = {"healthy": "health", "sick_but_no_tb": "sick", "tb": "tb"}
SIDES = ("xmin", "ymin", "width", "height")


class Tbx11kSource(PictureSource):
    """Films with tuberculosis; healthy ones are controls. The XML files, in another frame, are not read.

    Args:
        root: folder with `imgs/`, `annotations/json/` and `lists/`, or with `data.csv` and `images/`.
        name: of the source in records and metrics.
    """

    def __init__(self, root: str | Path, name: str = "tbx11k") -> None:
        super().__init__(root, name)

    def pictures(self) -> Iterator[Picture | Dropped]:
        """The films of the annotation files, the others of `imgs/health`, `sick` and `tb`, then those of the test."""
        folder = self.root / "annotations" / "json"
        there = [[(folder / f"{n}.json").is_file() for n in names] for names in FILES]
        chosen = next((names for names, found in zip(FILES, there, strict=True) if all(found)), ())
        chosen = chosen or next((names for names, found in zip(FILES, there, strict=True) if any(found)), ())
        for name in chosen:
            if not (folder / f"{name}.json").is_file():
                log.warning(f"{self.name}: no {folder / name}.json: its films are told as without a box")
        if not chosen and (self.root / "data.csv").is_file():
            yield from self._simplified()
            return
        if not chosen:
            raise InputError(
                f"{self.name}: no {FILES[0][0]}.json or the like in {folder}, and no data.csv: unpack it all"
            )
        splits = self._splits()
        listed: set[str] = set()
        for name in chosen:
            path = folder / f"{name}.json"
            if path.is_file():
                yield from self._listed(path, splits, listed)
        for sort in FOLDERS:
            for file in files_below(self.root / "imgs" / sort):
                if f"{sort}/{file}" not in listed:
                    yield from self._without(f"{sort}/{file}", splits.get(f"{sort}/{file}", ""))
        for file in self._withheld():
            if file not in listed:
                yield Dropped(self.name, printable(file), "unlabeled", WITHHELD)

    def _listed(self, path: Path, splits: dict[str, str], listed: set[str]) -> Iterator[Picture | Dropped]:
        """The films of one COCO file; `listed` gets their names."""
        coco = read_json(path, "the COCO file of TBX11K")
        for part in ("images", "annotations", "categories"):
            if not isinstance(coco.get(part), list):
                raise InputError(f"{path}: no list `{part}`: take the file as released")
        part = path.stem.rpartition("_")[2]
        names = {e["id"]: e["name"] for e in coco["categories"] if _is(e, id=int, name=str)}
        images: dict[int, dict[str, Any]] = {}
        ids = Counter(e["id"] for e in coco["images"] if _is(e, id=int))
        for position, image in enumerate(coco["images"]):
            if not _is(image, id=int, file_name=str) or ids[image["id"]] > 1 or not is_text(image["file_name"]):
                detail = "an id of its own and a file_name are expected"
                yield Dropped(self.name, f"{path.name} images {position}", "malformed", detail)
            elif image["file_name"] in listed:
                yield Dropped(self.name, image["file_name"], "duplicate", f"listed again in {path.name}")
            else:
                images[image["id"]] = image
                listed.add(image["file_name"])
        regions: dict[int, list[Region]] = defaultdict(list)
        lost = set()
        for position, entry in enumerate(coco["annotations"]):
            item = f"{path.name} annotations {position}"
            if not _is(entry, image_id=int) or entry["image_id"] not in images:
                yield Dropped(self.name, item, "malformed", "no image of this image_id")
                continue
            number, image = entry["image_id"], images[entry["image_id"]]
            category = names.get(entry["category_id"]) if _is(entry, category_id=int, bbox=list) else None
            if category is None or not is_text(category):
                yield Dropped(self.name, item, "malformed", f"{image['file_name']}: no bbox, or no such category_id")
                lost.add(number)
                continue
            box = partial(_box, entry["bbox"], image.get("width"), image.get("height"))
            raw = {key: entry[key] for key in ("image_id", "category_id", "bbox")}
            regions[number].append(Region(_category(category), box, item, raw))
        for number, image in images.items():
            file = image["file_name"]
            split = part if part in ("train", "val") else splits.get(file, "")
            if regions[number]:
                yield Picture(f"imgs/{file}", file, "X-ray", regions[number], official_split=split)
            elif number not in lost:
                yield from self._without(file, split)

    def _without(self, file: str, split: str) -> Iterator[Picture | Dropped]:
        """A film that has no box, by the folder it lies in."""
        if not is_text(file):
            yield Dropped(self.name, printable(file), "malformed", "a file name that is not UTF-8")
            return
        sort = file.partition("/")[0]
        without = WITHHELD if sort == "test" else WITHOUT.get(sort, "no box")
        yield Picture(f"imgs/{file}", file, "X-ray", official_split=split, without=without, is_control=sort == "health")

    def _splits(self) -> dict[str, str]:
        """File name -> official part, as far as the lists are there; those of all films come second."""
        found: dict[str, str] = {}
        for prefix in ("TBX11K", "all"):
            for part in ("train", "val"):
                for file in self._list(f"{prefix}_{part}"):
                    found.setdefault(file, part)
        return found

    def _list(self, name: str) -> list[str]:
        path = self.root / "lists" / f"{name}.txt"
        return [line.strip() for line in read_text(path, "a list of films").split("\n")] if path.is_file() else []

    def _withheld(self) -> list[str]:
        """The films of the official test, each once."""
        found = [file for file in self._list("TBX11K_test") if file]
        path = self.root / "annotations" / "json" / "all_test.json"
        if path.is_file():
            images = read_json(path, "the list of test films").get("images")
            found += [e["file_name"] for e in images if _is(e, file_name=str)] if isinstance(images, list) else []
        found += [f"test/{file}" for file in files_below(self.root / "imgs" / "test")]
        return list(dict.fromkeys(found))

    def _simplified(self) -> Iterator[Picture | Dropped]:
        """The films of `data.csv`, one row per box."""
        path = self.root / "data.csv"
        rows = read_rows(path, "the table of films")
        header = [cell.strip() for cell in next(rows, (0, []))[1]]
        missing = [column for column in KAGGLE if column not in header]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}: take data.csv as released")
        films: dict[str, Picture] = {}
        regions: dict[str, list[Region]] = defaultdict(list)
        for line, cells in rows:
            row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
            file = row["fname"] if len(cells) == len(header) else ""
            if not file or not all(map(is_text, row.values())):
                yield Dropped(self.name, f"data.csv row {line}", "malformed", f"{len(header)} cells are expected")
                continue
            if file not in films:
                sort = KAGGLE_FOLDERS.get(row["image_type"], "")
                split = row["source"] if row["source"] in ("train", "val") else ""
                without = WITHHELD if row["source"] == "test" else WITHOUT.get(sort, "no box")
                is_control = sort == "health" and row["source"] != "test"
                films[file] = Picture(
                    f"images/{file}", file, "X-ray", (), "", split, without=without, is_control=is_control
                )
            if row["bbox"].lower() not in ("none", ""):
                box = partial(_box, _literal(row["bbox"]), row["image_width"], row["image_height"])
                regions[file].append(Region(_category(row["tb_type"]), box, f"row {line}", row))
        yield from (replace(film, regions=regions[file]) for file, film in films.items())


def _category(name: str) -> str:
    return ALIASES.get(re.sub("[^a-z]", "", name.lower()), plain(name))


def _is(entry: object, **kinds: type) -> bool:
    """Whether it is an object that has these keys, each of its type."""
    return isinstance(entry, dict) and all(type(entry.get(key)) is kind for key, kind in kinds.items())


def _literal(text: str) -> list[Any]:
    """The four numbers of a Python dict; it is read, never run."""
    try:
        found = ast.literal_eval(text) if len(text) < 300 else None
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        found = None
    return [found.get(side) for side in SIDES] if isinstance(found, dict) else []


def _box(bbox: list[Any], said_width: object, said_height: object, width: int, height: int) -> Box:
    """In the frame that the file names: the picture may be a resized copy."""
    if [type(v) in (int, float) for v in bbox] != [True] * 4:
        raise BoxError("malformed", f"four numbers are expected, found {printable(repr(bbox))}")
    return Box.from_xywh(bbox, _side(said_width) or width, _side(said_height) or height)


def _side(said: object) -> int:
    """A width or height in pixels, 0 = not known."""
    return int(str(said)) if re.fullmatch("[0-9]{1,6}", str(said)) else 0
