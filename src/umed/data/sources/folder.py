"""`folder`: the user's own pictures with boxes in one of five formats."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from umed.data.formats import CONVENTIONS, SPLIT_WORDS, coco, csv_table, masks, voc, yolo
from umed.data.frames import ORIENTATIONS
from umed.data.sources.base import Picture, PictureSource
from umed.errors import InputError, check_choice
from umed.pictures import check_window
from umed.records import Dropped
from umed.run_files import is_text

USUAL = {
    "coco": "annotations.json",
    "yolo": "data.yaml",
    "voc": "Annotations",
    "csv": "annotations.csv",
    "masks": "masks",
}
CONVENTION = {"csv": "xyxy", "voc": "voc"}  # default meaning of the four numbers, where `box` can change it


class FolderSource(PictureSource):
    """Pictures under one folder with their boxes; fields of the annotation files win over these options.

    Raises InputError: an option that is not known or does not fit the format.

    Args:
        root: folder to which every picture's path is relative.
        format: `coco`, `yolo`, `voc`, `csv` or `masks`.
        annotations: the file or folder, relative to `root`; None = the usual one of the format.
        modality: of pictures that do not name theirs.
        group_regex: its first group (or whole match) in the path is the patient; None = the patient of a DICOM file,
            else each picture is its own group.
        split: `own` keeps the splits of the files, `ours` makes new ones.
        box: meaning of the four numbers of csv (None = `xyxy`) and voc (None = `voc`), see `make_box`.
        category: of masks that do not lie in a folder for each category.
        near: pictures that look alike, as frames of one video do, are one group; None = if the modality is Endoscopy.
        orientation: whether boxes of pictures with an EXIF orientation are of the picture as `stored` or as `shown`;
            None = `shown` for yolo, else what the stated size proves; the others are dropped.
        window: low and high gray value of pictures with more than 8 bits, after `offset` is added to the stored value;
            `range` or `percentile` = of each picture its own, see `pictures.RULES`; None = that of a DICOM file.
    """

    def __init__(
        self,
        root: str | Path,
        format: str = "coco",
        name: str = "folder",
        annotations: str | None = None,
        modality: str | None = None,
        group_regex: str | None = None,
        split: str = "ours",
        box: str | None = None,
        category: str | None = None,
        window: Sequence[float] | str | None = None,
        offset: float = 0.0,
        near: bool | None = None,
        orientation: str | None = None,
    ) -> None:
        super().__init__(root, name)
        if orientation is not None:
            check_choice(f"{name}: orientation", orientation, *ORIENTATIONS)
        # trainers of YOLO models load pictures as they are shown
        self.orientation = orientation or ("shown" if format == "yolo" else None)
        self.near = modality == "Endoscopy" if near is None else near
        self.format = check_choice(f"{name}: format", format, *USUAL)
        self.split = check_choice(f"{name}: split", split, "ours", "own")
        if box is not None:
            check_choice(f"{name}: box", box, *CONVENTIONS)
        if box is not None and format not in CONVENTION:
            raise InputError(f"{name}: box={box} is for format=csv and format=voc: leave it out")
        if category is not None and format != "masks":
            raise InputError(f"{name}: category={category} is for format=masks: the other formats name their own")
        try:
            self.group_regex = re.compile(group_regex) if group_regex else None
        except re.error as error:
            raise InputError(f"{name}: group_regex={group_regex} is no regular expression ({error})") from None
        self.annotations, self.modality, self.category = annotations or USUAL[format], modality, category
        self.box = box or CONVENTION.get(format, "")
        self.window = check_window(f"{name}: window", window, offset)

    def list_pictures(self) -> Iterator[Picture | Dropped]:
        for item in FORMATS[self.format](self):
            yield self._complete(item) if isinstance(item, Picture) else item

    def _complete(self, picture: Picture) -> Picture:
        """The picture with modality, group, split and window."""
        if is_text(picture.name) and (picture.regions or picture.is_control):  # else it is dropped
            split = {"split": self._map_split(picture)} if self.split == "own" else {}
            picture = replace(picture, group=self._find_group(picture), extra={**picture.extra, **split})
        return replace(picture, modality=picture.modality or self.modality or "unknown", window=self.window)

    def _map_split(self, picture: Picture) -> str:
        word = picture.official_split
        if word.lower() not in SPLIT_WORDS:
            found = f"split {word}" if word else "no split"
            raise InputError(
                f"{self.name}: {picture.name} has {found}: split=own needs train, val or test for every picture"
            )
        return SPLIT_WORDS[word.lower()]

    def _find_group(self, picture: Picture) -> str:
        if picture.group or self.group_regex is None:
            return picture.group
        match = self.group_regex.search(picture.name)
        group = match and match[1 if match.re.groups else 0]
        if not group:
            raise InputError(
                f"{self.name}: group_regex={self.group_regex.pattern} finds nothing in {picture.name}: "
                "it must name the patient of every picture"
            )
        return group


FORMATS: dict[str, Callable[[FolderSource], Iterator[Picture | Dropped]]] = {
    "coco": lambda source: coco.list_pictures(source.root, source.annotations, source.name),
    "yolo": lambda source: yolo.list_pictures(source.root, source.annotations, source.name),
    "voc": lambda source: voc.list_pictures(source.root, source.annotations, source.name, source.box),
    "csv": lambda source: csv_table.list_pictures(source.root, source.annotations, source.name, source.box),
    "masks": lambda source: masks.list_pictures(source.root, source.annotations, source.name, source.category),
}
