"""Kvasir-SEG: endoscopy with polyps; with Kvasir v2 beside it also pictures of normal mucosa."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from umed.boxes import Box
from umed.data.formats.masks import regions_of
from umed.data.look import Unusable
from umed.data.sources.base import Item, Picture, PictureSource, Region, Seen, plain
from umed.data.sources.files import files_below, printable, read_json
from umed.errors import InputError, check_choice
from umed.records import Dropped, is_text

log = logging.getLogger(__name__)

CORNERS = ("xmin", "ymin", "xmax", "ymax")
NORMAL = "normal-"  # folders of Kvasir v2: normal-cecum, normal-pylorus, normal-z-line


class KvasirSource(PictureSource):
    """Pictures with polyps; frames of one video look alike and are one group.

    Args:
        root: folder with `images/`, `masks/` and `kavsir_bboxes.json`, spelt like that.
        name: of the source in records and metrics; controls belong to `<name>_controls`.
        boxes: `json` as released, or `masks`: one box around each connected region.
        controls_root: folder of Kvasir v2, whose `normal-*` folders hold the controls.
    """

    near = True

    def __init__(
        self,
        root: str | Path,
        name: str = "kvasir",
        boxes: str = "json",
        controls_root: str | Path | None = None,
    ) -> None:
        super().__init__(root, name)
        self.boxes = check_choice(f"data.source.{name}.boxes", boxes, "json", "masks")
        self.controls_root = Path(controls_root) if controls_root else None

    @property
    def roots(self) -> dict[str, Path]:
        controls = {f"{self.name}_controls": self.controls_root} if self.controls_root else {}
        return {self.name: self.root, **controls}

    def root_of(self, picture: Picture) -> tuple[str, Path]:
        if isinstance(picture, _OfV2) and self.controls_root:
            return f"{self.name}_controls", self.controls_root
        return self.name, self.root

    def pictures(self) -> Iterator[Picture | Dropped]:
        """Polyps first: of the same picture in Kvasir v2, the one with a box is kept."""
        yield from self._boxed() if self.boxes == "json" else self._masked()
        if self.controls_root:
            yield from self._controls(self.controls_root)

    def _boxed(self) -> Iterator[Picture | Dropped]:
        path = self.root / "kavsir_bboxes.json"
        found = read_json(path, "the boxes of Kvasir-SEG")
        for key, entry in found.items():
            name = f"{key}.jpg"
            boxes = entry.get("bbox") if isinstance(entry, dict) else None
            if not is_text(key) or not isinstance(boxes, list):
                yield Dropped(self.name, printable(name), "malformed", "a name with a list bbox is expected")
                continue
            regions = []
            for number, box in enumerate(boxes, 1):
                region = self._region(box, f"bbox {number}", (entry.get("width"), entry.get("height")))
                if region:
                    regions.append(region)
                else:
                    detail = "a label and xmin, ymin, xmax, ymax are expected"
                    yield Dropped(self.name, f"{name} bbox {number}", "malformed", detail)
            if regions or not boxes:
                yield Picture(f"images/{name}", name, "Endoscopy", regions)
        for file in files_below(self.root / "images"):
            if file.removesuffix(".jpg") not in found:
                yield Dropped(self.name, printable(file), "unlabeled", f"not in {path.name}")

    def _region(self, box: Any, where: str, said: tuple[Any, Any]) -> Region | None:
        """None: it is no box."""
        if not isinstance(box, dict):
            return None
        label, corners = box.get("label", ""), [box.get(corner) for corner in CORNERS]
        if not isinstance(label, str) or not is_text(label) or any(type(v) not in (int, float) for v in corners):
            return None
        make = partial(self._box, corners, said)
        return Region(plain(label), make, where, dict(zip(CORNERS, corners, strict=True)))

    def _box(self, corners: Sequence[Any], said: tuple[Any, Any], width: int, height: int) -> Box:
        self.unlike += None not in said and said != (width, height)
        return Box.from_xyxy(corners, width, height)

    def read(self, seen: Seen, workers: int = 1) -> Iterator[Item]:
        self.unlike = 0  # boxes whose picture is not of the size that the file says
        yield from super().read(seen, workers)
        if self.unlike:
            log.warning(
                f"{self.name}: the pictures of {self.unlike} boxes have another size than kavsir_bboxes.json says; "
                "boxes are read as pixels of the stored picture: if this is a resized copy, they are wrong"
            )

    def _masked(self) -> Iterator[Picture | Dropped]:
        files, masks = files_below(self.root / "images"), files_below(self.root / "masks")
        if not files or not masks:
            raise InputError(
                f"{self.name}: no pictures in {self.root}/images or none in {self.root}/masks: unpack both"
            )
        known = set(masks)
        for file in files:
            if not is_text(file):
                yield Dropped(self.name, printable(file), "malformed", "a file name that is not UTF-8")
                continue
            if file not in known:
                yield Dropped(self.name, file, "unlabeled", "no mask")
                continue
            try:
                regions = regions_of(self.root, f"masks/{file}", "polyp")
            except Unusable as error:
                yield Dropped(self.name, file, error.reason, str(error))
                continue
            yield Picture(f"images/{file}", file, "Endoscopy", regions, without="a black mask")
        for file in sorted(known - set(files)):
            yield Dropped(self.name, printable(file), "missing_file", "a mask without a picture")

    def _controls(self, root: Path) -> Iterator[Picture | Dropped]:
        by_folder: dict[str, list[str]] = defaultdict(list)
        for file in files_below(root):
            by_folder[file.partition("/")[0] if "/" in file else ""].append(file)
        if not any(folder.startswith(NORMAL) for folder in by_folder):
            raise InputError(
                f"{self.name}: no pictures in {root}/{NORMAL}*: set data.source.{self.name}.controls_root to Kvasir v2"
            )
        for folder, files in by_folder.items():
            is_normal = folder.startswith(NORMAL)
            for file in files:
                if is_text(file):
                    without = folder if is_normal else "no box"
                    yield _OfV2(file, file, "Endoscopy", without=without, is_control=is_normal)
                else:
                    yield Dropped(self.name, printable(file), "malformed", "a file name that is not UTF-8")


class _OfV2(Picture):
    """A picture below `controls_root`."""

    __slots__ = ()
