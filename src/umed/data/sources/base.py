"""A source: files on disk in, records out. One file per source says what its pictures are; the rest is done here."""

import re
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from umed.boxes import Box, BoxError
from umed.data.look import Look, Unusable, clusters, look
from umed.data.splits import components
from umed.errors import InputError
from umed.records import Dropped, Record

Corners = tuple[float, float, float, float]
MakeBox = Callable[[int, int], Box]
Seen = dict[bytes, tuple[str, str]]  # digest of pixels -> source and image of the first picture that has them


@dataclass(frozen=True, slots=True)
class Copy:
    """What would be a record if the same pixels did not lie in `first` (source, image): its group is that one's too."""

    record: Record
    first: tuple[str, str]


Item = Record | Dropped | Copy


@dataclass(frozen=True, slots=True)
class Example:
    """What reading a written example must give.

    `records`: id (with the source's own name) -> boxes as xyxy in pixels of the stored picture; `dropped`: reason ->
    number of lines; `controls`: number of records without boxes, which are not in `records`.
    """

    records: dict[str, list[Corners]]
    dropped: dict[str, int] = field(default_factory=dict)
    controls: int = 0


class Source(Protocol):
    """One data set on disk, or several that belong together."""

    @property
    def roots(self) -> dict[str, Path]:
        """Name of each source -> folder to which the `image` of its records is relative."""

    def read(self, seen: Seen, workers: int) -> Iterator[Item]:
        """Every item, kept or dropped; a record without boxes is a control: a picture known to be normal.

        Args:
            seen: shared by all sources and filled here.
            workers: threads that open pictures.

        Raises:
            InputError: what lies there is no such data set.
        """


@dataclass(frozen=True, slots=True)
class Region:
    """One box as the annotation file tells it; `box(width, height)` makes it, the stored picture's size given.

    `where` names the row or key in the file, `raw` is that row, `window` is `Record.window`.
    """

    category: str
    box: MakeBox
    where: str
    raw: Any
    window: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and what its source says of it, before it is opened.

    `image` is relative to the root; `name` is its part of the record's id; `group` "" = the patient of a DICOM file,
    else the picture itself. Without regions it is dropped as `unlabeled` with the reason `without`; `is_control` then
    says that it shows nothing abnormal. `window` is that of all regions that have none of their own; `extra` are
    further fields of its records.
    """

    image: str
    name: str
    modality: str
    regions: Sequence[Region] = ()
    group: str = ""
    official_split: str = ""
    without: str = "no box"
    is_control: bool = False
    window: tuple[float, float, float] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class PictureSource(ABC):
    """A source that lists its pictures; opening, hashing, boxes, groups and records are the same for all.

    Args:
        root: folder as released.
        name: of the source in records and metrics.
    """

    near = False  # pictures that look alike (frames of one video) are one group

    def __init__(self, root: str | Path, name: str) -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
            raise InputError(f"a source is called {name}: use letters, digits, - and _, since files are named after it")
        if not isinstance(root, str | Path) or not str(root):
            raise InputError(f"data.source.{name}.root is not set: give the folder of the source")
        self.root, self.name = Path(root), name

    @property
    def roots(self) -> dict[str, Path]:
        return {self.name: self.root}

    @abstractmethod
    def pictures(self) -> Iterator[Picture | Dropped]:
        """What the annotation files say, in one pass; no picture is opened.

        Raises:
            InputError: no such files, or not in the format of the source.
        """

    def root_of(self, picture: Picture) -> tuple[str, Path]:
        """Name and folder of the source that the picture's record belongs to."""
        return self.name, self.root

    def read(self, seen: Seen, workers: int = 1) -> Iterator[Item]:
        if not self.root.is_dir():
            raise InputError(f"{self.name}: no folder {self.root}: set data.source.{self.name}.root")
        found = self._read(seen, workers)
        return self._grouped(found) if self.near else (item for item, _ in found)

    def _read(self, seen: Seen, workers: int) -> Iterator[tuple[Item, int]]:
        """Items with the perceptual hash of their picture."""
        for picture, found in self._looked(workers):
            if isinstance(picture, Dropped):
                yield picture, 0
                continue
            source, _ = self.root_of(picture)
            assert found is not None
            try:
                seen_as = found.result()
            except Unusable as error:
                yield Dropped(self.name, picture.name, error.reason, str(error)), 0
                continue
            items = list(self._records(picture, seen_as, source))
            records = [item for item in items if isinstance(item, Record)]
            first = seen.get(seen_as.pixels)
            if first:
                yield Dropped(self.name, picture.name, "duplicate", f"same pixels as {first[1]} of {first[0]}"), 0
                for record in records:
                    yield Copy(record, first), seen_as.phash
                continue
            if records:  # of a picture that gives none, a twin may
                seen[seen_as.pixels] = source, picture.image
            for item in items:
                yield item, seen_as.phash

    def _looked(self, workers: int) -> Iterator[tuple[Picture | Dropped, Future[Look] | None]]:
        """The listed pictures in order, a bounded number of them being opened ahead."""
        waiting: deque[tuple[Picture | Dropped, Future[Look] | None]] = deque()
        with ThreadPoolExecutor(workers) as pool:  # decoding and hashing release the interpreter's lock
            for item in self.pictures():
                future = None
                if isinstance(item, Picture):
                    window = item.window or next((region.window for region in item.regions), None)
                    future = pool.submit(look, self.root_of(item)[1], item.image, window, self.near)
                waiting.append((item, future))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft()
            yield from waiting

    def _records(self, picture: Picture, seen_as: Look, source: str) -> Iterator[Record | Dropped]:
        whole = Record(
            id=f"{source}/{picture.name}",
            source=source,
            image=picture.image,
            width=seen_as.width,
            height=seen_as.height,
            boxes=(),
            category="no finding",
            modality=picture.modality,
            group=picture.group or seen_as.patient or picture.name,
            official_split=picture.official_split,
            provenance={"sha256": seen_as.sha256, **_window(picture.window)},
            **picture.extra,
        )
        if not picture.regions:
            yield Dropped(self.name, picture.name, "unlabeled", picture.without)
            if picture.is_control:
                yield whole
        found: dict[str, list[tuple[Box, Region]]] = defaultdict(list)
        for region in picture.regions:
            item = f"{picture.name} {region.where}".strip()
            if not region.category:
                yield Dropped(self.name, item, "unlabeled", "a box without a category")
                continue
            try:
                box = region.box(seen_as.width, seen_as.height)
            except BoxError as error:
                yield Dropped(self.name, item, error.reason, str(error))
                continue
            if box in [other for other, _ in found[region.category]]:
                yield Dropped(self.name, item, "duplicate", f"the same box of {region.category} again")
                continue
            found[region.category].append((box, region))
        for k, (category, boxed) in enumerate(found.items(), 1):
            yield replace(
                whole,
                id=whole.id + (f"#{k}" if len(found) > 1 else ""),
                boxes=tuple(box for box, _ in boxed),
                category=category,
                provenance={
                    **whole.provenance,
                    **_window(boxed[0][1].window),
                    "raw": [region.raw for _, region in boxed],
                },
            )

    def _grouped(self, found: Iterator[tuple[Item, int]]) -> Iterator[Item]:
        """The same with the groups of pictures that look alike made one."""
        kept: list[tuple[Record | Copy, int]] = []
        for item, phash in found:
            if isinstance(item, Dropped):
                yield item
            else:
                kept.append((item, phash))
        groups = [(item.record if isinstance(item, Copy) else item).group for item, _ in kept]
        firsts = clusters([phash for _, phash in kept])
        name = components((groups[i], groups[first]) for i, first in enumerate(firsts))
        for (item, _), group in zip(kept, groups, strict=True):
            if isinstance(item, Copy):
                yield replace(item, record=replace(item.record, group=name[group]))
            else:
                yield replace(item, group=name[group])


def _window(window: tuple[float, float, float] | None) -> dict[str, list[float]]:
    return {"window": list(window)} if window else {}


def plain(category: str) -> str:
    """A category in lower case with single spaces."""
    return " ".join(category.lower().replace("_", " ").split())
