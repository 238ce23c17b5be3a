"""Kvasir-SEG: endoscopy with polyps; with Kvasir v2 beside it also pictures of normal mucosa."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from umed.boxes import Box
from umed.data.files import Unusable, list_files, normalize_category, read_json
from umed.data.formats.masks import read_regions
from umed.data.frames import Frame
from umed.data.sources.base import Picture, PictureSource, Region
from umed.errors import InputError, check_choice
from umed.records import Dropped
from umed.run_files import are_numbers

CORNERS = ("xmin", "ymin", "xmax", "ymax")
NORMAL = "normal-"  # folders of Kvasir v2: normal-cecum, normal-pylorus, normal-z-line


class KvasirSource(PictureSource):
    """Pictures with polyps; frames of one video look alike and are one group.

    Args:
        root: folder with `images/`, `masks/` and `kavsir_bboxes.json` (its spelling).
        name: of the source; controls belong to `<name>_controls`.
        boxes: `json` as released, or `masks`: one box around each connected region.
        controls_root: folder of Kvasir v2, whose `normal-*` folders hold the controls.
    """

    name = "kvasir"
    near = True

    def __init__(
        self, root: str | Path, name: str | None = None, boxes: str = "json", controls_root: str | Path | None = None
    ) -> None:
        super().__init__(root, name)
        self.boxes = check_choice(f"data.source.{self.name}.boxes", boxes, *self.LISTERS)
        self.controls_root = Path(controls_root) if controls_root else None

    @property
    def roots(self) -> dict[str, Path]:
        controls = {f"{self.name}_controls": self.controls_root} if self.controls_root else {}
        return {self.name: self.root, **controls}

    def root_of(self, picture: Picture) -> tuple[str, Path]:
        if isinstance(picture, _ControlPicture) and self.controls_root:
            return f"{self.name}_controls", self.controls_root
        return self.name, self.root

    def list_pictures(self) -> Iterator[Picture | Dropped]:
        """Polyps first: of the same picture in Kvasir v2, the one with a box is kept."""
        yield from self.LISTERS[self.boxes](self)
        if self.controls_root:
            yield from self._list_controls(self.controls_root)

    def _list_boxed(self) -> Iterator[Picture | Dropped]:
        path = self.root / "kavsir_bboxes.json"
        entries = read_json(path, "the boxes of Kvasir-SEG")
        for key, entry in entries.items():
            name = f"{key}.jpg"
            boxes = entry.get("bbox") if isinstance(entry, dict) else None
            if not isinstance(boxes, list):
                yield Dropped(self.name, name, "malformed", "a list bbox is expected")
                continue
            regions = []
            for number, box in enumerate(boxes, 1):
                frame = Frame.parse(entry.get("width"), entry.get("height"), needed=True)
                if region := _parse_region(box, f"bbox {number}", frame):
                    regions.append(region)
                else:
                    detail = "a label and xmin, ymin, xmax, ymax are expected"
                    yield Dropped(self.name, f"{name} bbox {number}", "malformed", detail)
            if regions or not boxes:
                yield Picture(f"images/{name}", name, "Endoscopy", regions)
        for file in list_files(self.root / "images"):
            if file.removesuffix(".jpg") not in entries:
                yield Dropped(self.name, file, "unlabeled", f"not in {path.name}")

    def _list_masked(self) -> Iterator[Picture | Dropped]:
        files, masks = list_files(self.root / "images"), set(list_files(self.root / "masks"))
        if not files or not masks:
            raise InputError(
                f"{self.name}: no pictures in {self.root}/images or none in {self.root}/masks: unpack both"
            )
        for file in files:
            if file not in masks:
                yield Dropped(self.name, file, "unlabeled", "no mask")
                continue
            try:
                regions = read_regions(self.root, f"masks/{file}", "polyp")
            except Unusable as error:
                yield Dropped(self.name, file, error.reason, str(error))
                continue
            yield Picture(f"images/{file}", file, "Endoscopy", regions, without="a black mask")
        for file in sorted(masks - set(files)):
            yield Dropped(self.name, file, "missing_file", "a mask without a picture")

    LISTERS: ClassVar = {"json": _list_boxed, "masks": _list_masked}  # by the option `boxes`

    def _list_controls(self, root: Path) -> Iterator[Picture | Dropped]:
        by_folder: dict[str, list[str]] = defaultdict(list)
        for file in list_files(root):
            by_folder[file.partition("/")[0] if "/" in file else ""].append(file)
        if not any(folder.startswith(NORMAL) for folder in by_folder):
            raise InputError(
                f"{self.name}: no pictures in {root}/{NORMAL}*: set data.source.{self.name}.controls_root to Kvasir v2"
            )
        for folder, files in by_folder.items():
            is_normal = folder.startswith(NORMAL)
            without = folder if is_normal else "no box"
            for file in files:
                yield _ControlPicture(file, file, "Endoscopy", without=without, is_control=is_normal)


def _parse_region(box: Any, where: str, frame: Frame) -> Region | None:
    """The region of a JSON entry, None if it is no box."""
    if not isinstance(box, dict):
        return None
    label, raw = box.get("label", ""), {corner: box.get(corner) for corner in CORNERS}
    corners: list[Any] = [*raw.values()]
    if not isinstance(label, str) or not are_numbers(corners, 4):
        return None
    return Region(normalize_category(label), partial(Box.from_xyxy, corners), where, raw, frame=frame)


class _ControlPicture(Picture):
    """A picture below `controls_root`."""

    __slots__ = ()
