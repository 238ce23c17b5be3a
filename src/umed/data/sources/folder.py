"""`folder`: the user's own pictures with boxes in one of five formats."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from umed.data.formats import SPLIT_WORDS, coco, csv_table, masks, voc, yolo
from umed.data.formats.corners import CONVENTIONS
from umed.data.sources.base import Picture, PictureSource
from umed.data.sources.files import printable
from umed.errors import InputError, check_choice
from umed.records import Dropped, is_text

USUAL = {
    "coco": "annotations.json",
    "yolo": "data.yaml",
    "voc": "Annotations",
    "csv": "annotations.csv",
    "masks": "masks",
}
MEANT = {"csv": "xyxy", "voc": "voc"}  # formats whose four numbers may be meant otherwise


class FolderSource(PictureSource):
    """Pictures under one folder with their boxes; what the files say of a picture wins over the options.

    Args:
        root: folder to which every picture's path is relative.
        format: `coco`, `yolo`, `voc`, `csv` or `masks`.
        name: of the source in records and metrics.
        annotations: the file or folder, relative to `root`; None = the usual one of the format.
        modality: of pictures that do not name theirs.
        group_regex: its first group (or whole match) in the path is the patient; without it, the patient of a DICOM
            file, else each picture is one.
        split: `own` keeps the splits of the files, `ours` makes new ones.
        box: what the four numbers of csv (None = `xyxy`) and voc (None = `voc`) mean, see `box_of`.
        category: of masks that do not lie in a folder for each category.
        near: pictures that look alike, as frames of one video do, are one group; None = if the modality is Endoscopy.
        window: low and high gray value of pictures with more than 8 bits, after `offset` is added to what is stored.

    Raises:
        InputError: an option that is not known or does not fit the format.
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
        window: Sequence[float] | None = None,
        offset: float = 0.0,
        near: bool | None = None,
    ) -> None:
        super().__init__(root, name)
        self.near = modality == "Endoscopy" if near is None else near
        self.format = check_choice(f"{name}: format", format, *USUAL)
        self.split = check_choice(f"{name}: split", split, "ours", "own")
        if box is not None and (check_choice(f"{name}: box", box, *CONVENTIONS), format)[1] not in MEANT:
            raise InputError(f"{name}: box={box} is for format=csv and format=voc: leave it out")
        if category is not None and format != "masks":
            raise InputError(f"{name}: category={category} is for format=masks: the other formats name their own")
        try:
            self.group_regex = re.compile(group_regex) if group_regex else None
        except re.error as error:
            raise InputError(f"{name}: group_regex={group_regex} is no regular expression ({error})") from None
        self.annotations, self.modality, self.category = annotations or USUAL[format], modality, category
        self.box = box or MEANT.get(format, "")
        self.window = _window(name, window, offset)

    def pictures(self) -> Iterator[Picture | Dropped]:
        for item in self._listed():
            if isinstance(item, Picture):
                yield from self._settled(item)
            else:
                yield item

    def _listed(self) -> Iterator[Picture | Dropped]:
        if self.format == "coco":
            return coco.pictures(self.root, self.annotations)
        if self.format == "yolo":
            return yolo.pictures(self.root, self.annotations, self.name)
        if self.format == "voc":
            return voc.pictures(self.root, self.annotations, self.name, self.box)
        if self.format == "csv":
            return csv_table.pictures(self.root, self.annotations, self.name, self.box)
        return masks.pictures(self.root, self.annotations, self.name, self.category)

    def _settled(self, picture: Picture) -> Iterator[Picture | Dropped]:
        """The picture with modality, group, split and window; what no file can hold is dropped."""
        if not is_text(picture.name):
            yield Dropped(self.name, printable(picture.name), "malformed", "a name that no text file can hold")
            return
        regions = []
        for region in picture.regions:
            if is_text(region.category + region.where):
                regions.append(region)
            else:
                item = printable(f"{picture.name} {region.where}")
                yield Dropped(self.name, item, "malformed", "a name that no text file can hold")
        if picture.regions and not regions:
            return
        if regions or picture.is_control:
            split = {"split": self._own_split(picture)} if self.split == "own" else {}
            picture = replace(picture, group=self._group(picture), extra={**picture.extra, **split})
        modality = picture.modality or self.modality or "unknown"
        yield replace(picture, regions=regions, modality=modality, window=self.window)

    def _own_split(self, picture: Picture) -> str:
        word = picture.official_split
        if word.lower() not in SPLIT_WORDS:
            told = f"split {word}" if word else "no split"
            raise InputError(
                f"{self.name}: {picture.name} has {told}: split=own needs train, val or test for every picture"
            )
        return SPLIT_WORDS[word.lower()]

    def _group(self, picture: Picture) -> str:
        if picture.group or self.group_regex is None:
            return picture.group
        match = self.group_regex.search(picture.name)
        found = match and match[1 if match.re.groups else 0]
        if not found:
            raise InputError(
                f"{self.name}: group_regex={self.group_regex.pattern} finds nothing in {picture.name}: "
                "it must name the patient of every picture"
            )
        return found


def _window(name: str, window: Sequence[float] | None, offset: float) -> tuple[float, float, float] | None:
    if window is None:
        return None
    try:
        low, high = (float(v) for v in window)
        found = low, high, float(offset)
    except (TypeError, ValueError):
        found = math.nan, math.nan, math.nan
    if not all(map(math.isfinite, found)) or found[0] >= found[1]:
        raise InputError(f"{name}: window={window}, offset={offset}: window=[low, high] with low < high is expected")
    return found
