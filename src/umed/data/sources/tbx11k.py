"""TBX11K: chest films with boxes of tuberculosis, as released or as the simplified copy with a `data.csv`."""

import ast
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from umed.boxes import Box, BoxError
from umed.data.files import list_files, normalize_category, read_json, read_table, read_text
from umed.data.frames import Frame
from umed.data.sources.base import Picture, PictureSource, Region
from umed.errors import InputError
from umed.records import Dropped
from umed.run_files import are_numbers, is_text, make_printable

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
PARTS = ("train", "val")
WITHOUT = {  # folder of `imgs/` -> what its films without a box are
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
    """Films with tuberculosis, healthy controls, in the frame of the JSON or CSV; the XML files are not read."""

    name = "tbx11k"

    def list_pictures(self) -> Iterator[Picture | Dropped]:
        """The films of the annotation files, the others of `imgs/health`, `sick` and `tb`, then those of the test."""
        folder = self.root / "annotations" / "json"
        paths = [[folder / f"{name}.json" for name in names] for names in FILES]
        by_use = [names for f in (all, any) for names in paths if f(path.is_file() for path in names)]
        if by_use:
            yield from self._list_released(by_use[0])
        elif (self.root / "data.csv").is_file():
            yield from self._list_simplified()
        else:
            raise InputError(
                f"{self.name}: no {FILES[0][0]}.json or the like in {folder}, and no data.csv: unpack it all"
            )

    def _list_released(self, paths: Sequence[Path]) -> Iterator[Picture | Dropped]:
        splits = self._read_splits()
        listed: set[str] = set()
        for path in paths:
            if path.is_file():
                yield from self._list_annotated(path, splits, listed)
            else:
                log.warning(f"{self.name}: no {path}: its films count as films without a box")
        for place in WITHOUT:
            for file in list_files(self.root / "imgs" / place):
                if f"{place}/{file}" not in listed:
                    yield self._list_unboxed(f"{place}/{file}", splits.get(f"{place}/{file}", ""))
        for file in self._list_withheld():
            if file not in listed:
                yield Dropped(self.name, file, "unlabeled", WITHHELD)

    def _list_annotated(self, path: Path, splits: dict[str, str], listed: set[str]) -> Iterator[Picture | Dropped]:
        """The films of one COCO file; their names are added to `listed`."""
        coco = read_json(path, "the COCO file of TBX11K")
        for part in ("images", "annotations", "categories"):
            if not isinstance(coco.get(part), list):
                raise InputError(f"{path}: no list `{part}`: take the file as released")
        names = {e["id"]: e["name"] for e in coco["categories"] if _has(e, id=int, name=str)}
        images: dict[int, dict[str, Any]] = {}
        ids = Counter(e["id"] for e in coco["images"] if _has(e, id=int))
        for position, image in enumerate(coco["images"]):
            if not _has(image, id=int, file_name=str) or ids[image["id"]] > 1 or not is_text(image["file_name"]):
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
            if not _has(entry, image_id=int) or entry["image_id"] not in images:
                yield Dropped(self.name, item, "malformed", "no image of this image_id")
                continue
            number, image = entry["image_id"], images[entry["image_id"]]
            category = names.get(entry["category_id"]) if _has(entry, category_id=int, bbox=list) else None
            if category is None:
                yield Dropped(self.name, item, "malformed", f"{image['file_name']}: no bbox, or no such category_id")
                lost.add(number)
                continue
            frame = Frame.parse(image.get("width"), image.get("height"), needed=True)
            raw = {key: entry[key] for key in ("image_id", "category_id", "bbox")}
            box = partial(_make_box, entry["bbox"])
            regions[number].append(Region(_map_category(category), box, item, raw, frame=frame))
        split_of_file = path.stem.rpartition("_")[2]
        for number, image in images.items():
            file = image["file_name"]
            split = split_of_file if split_of_file in PARTS else splits.get(file, "")
            if regions[number]:
                yield Picture(f"imgs/{file}", file, "X-ray", regions[number], official_split=split)
            elif number not in lost:
                yield self._list_unboxed(file, split)

    def _list_unboxed(self, file: str, split: str) -> Picture:
        """A film without a box, by the folder it lies in."""
        place = file.partition("/")[0]
        without = WITHHELD if place == "test" else WITHOUT.get(place, "no box")
        is_control = place == "health"
        return Picture(f"imgs/{file}", file, "X-ray", official_split=split, without=without, is_control=is_control)

    def _read_splits(self) -> dict[str, str]:
        """File name -> official part, as far as the lists are there; those of all films come second."""
        lists = [(part, self._read_list(f"{prefix}_{part}")) for prefix in ("all", "TBX11K") for part in PARTS[::-1]]
        return {file: part for part, files in lists for file in files}  # the last one wins

    def _read_list(self, name: str) -> list[str]:
        path = self.root / "lists" / f"{name}.txt"
        lines = read_text(path, "a list of films").split("\n") if path.is_file() else []
        return [line.strip() for line in lines if line.strip()]

    def _list_withheld(self) -> list[str]:
        """The films of the official test, each once."""
        path = self.root / "annotations" / "json" / "all_test.json"
        images = read_json(path, "the list of test films").get("images") if path.is_file() else None
        listed = [e["file_name"] for e in images if _has(e, file_name=str)] if isinstance(images, list) else []
        on_disk = [f"test/{file}" for file in list_files(self.root / "imgs" / "test")]
        return list(dict.fromkeys([*self._read_list("TBX11K_test"), *listed, *on_disk]))

    def _list_simplified(self) -> Iterator[Picture | Dropped]:
        """The films of `data.csv`, one row per box."""
        films: dict[str, Picture] = {}
        regions: dict[str, list[Region]] = defaultdict(list)
        for line, row, problem in read_table(self.root / "data.csv", "the table of films, as released,", KAGGLE):
            file = row["fname"]
            if problem or not file or not all(map(is_text, row.values())):
                detail = problem or "a file name in plain text is expected"
                yield Dropped(self.name, f"data.csv row {line}", "malformed", detail)
                continue
            if file not in films:
                place = KAGGLE_FOLDERS.get(row["image_type"], "")
                is_withheld = row["source"] == "test"
                films[file] = Picture(
                    image=f"images/{file}",
                    name=file,
                    modality="X-ray",
                    official_split=row["source"] if row["source"] in PARTS else "",
                    without=WITHHELD if is_withheld else WITHOUT.get(place, "no box"),
                    is_control=place == "health" and not is_withheld,
                )
            if row["bbox"].lower() not in ("none", ""):
                frame = Frame.parse(row["image_width"], row["image_height"], needed=True)
                box = partial(_make_box, _parse_bbox(row["bbox"]))
                regions[file].append(Region(_map_category(row["tb_type"]), box, f"row {line}", row, frame=frame))
        yield from (replace(film, regions=regions[file]) for file, film in films.items())


def _map_category(name: str) -> str:
    return ALIASES.get(re.sub("[^a-z]", "", name.lower()), normalize_category(name))


def _has(entry: object, **types: type) -> bool:
    """Whether it is an object that has these keys, each of its type."""
    return isinstance(entry, dict) and all(type(entry.get(key)) is wanted for key, wanted in types.items())


def _parse_bbox(text: str) -> list[Any]:
    """The four numbers of a Python dict, which is parsed and never run; empty if it is none."""
    try:
        bbox = ast.literal_eval(text) if len(text) < 300 else None
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return []
    return [bbox.get(side) for side in SIDES] if isinstance(bbox, dict) else []


def _make_box(bbox: list[Any], width: float, height: float) -> Box:
    if not are_numbers(bbox, 4):
        raise BoxError("malformed", f"four numbers are expected, found {make_printable(repr(bbox))}")
    return Box.from_xywh(bbox, width, height)
