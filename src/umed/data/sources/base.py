"""A source: files on disk in, records out. One file per source lists its pictures; the rest is done here."""

import re
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from umed.boxes import Box, BoxError
from umed.data.files import Unusable
from umed.data.frames import Frame, MakeBox, place_box
from umed.data.inspect_picture import PictureFacts, cluster_hashes, inspect_picture
from umed.data.sources.seen import Seen, find_twin
from umed.data.splits import join_linked
from umed.errors import InputError
from umed.pictures import Window
from umed.records import Dropped, Record
from umed.run_files import is_text

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Copy:
    """A record whose pixels are also those of `first` (source, image), which is kept: both groups share a split."""

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
    """One data set on disk, or several that belong together; most derive from `PictureSource`."""

    @property
    def roots(self) -> dict[str, Path]:
        """Name of each source -> folder to which the `image` of its records is relative."""

    def read(self, seen: Seen, workers: int) -> Iterator[Item]:
        """Every item, kept or dropped; a record without boxes is a control: a picture known to be normal.

        `seen`: shared by all sources and filled here. `workers`: threads that open pictures. Raises InputError: the
        files there are no such data set.
        """


@dataclass(frozen=True, slots=True)
class Region:
    """One box of a file; `where`: its row or key, `raw`: that row, `box(width, height)`: in a `frame` of this size."""

    category: str
    box: MakeBox
    where: str
    raw: Any
    window: Window | None = None
    frame: Frame = field(default_factory=Frame)


@dataclass(frozen=True, slots=True)
class Picture:
    """One listed picture, before it is opened.

    `image` is relative to the root; `name` is its part of the record's id; `group` "" = the patient of a DICOM file,
    else the picture itself. Without regions it is dropped as `unlabeled` with the detail `without`, and `is_control`
    says that nothing abnormal is on it. `window`, see `pictures.check_window`, is that of all regions that have none of
    their own; `extra` are further fields of its records.
    """

    image: str
    name: str
    modality: str
    regions: Sequence[Region] = ()
    group: str = ""
    official_split: str = ""
    without: str = "no box"
    is_control: bool = False
    window: Window | str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class PictureSource(ABC):
    """A source that lists its pictures; opening, hashing, boxes, groups and records are the same for all.

    `root`: folder as released. `name`: of the source in records and metrics; None = the class's own.
    """

    name: str
    near = False  # pictures that look alike (frames of one video) are one group
    orientation: str | None = None  # boxes of pictures with an EXIF orientation are of the "stored" or "shown" one

    def __init__(self, root: str | Path, name: str | None = None) -> None:
        self.name = self.name if name is None else name
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", self.name):
            raise InputError(f"a source is called {name}: use letters, digits, - and _, since files are named after it")
        if not isinstance(root, str | Path) or not str(root):
            raise InputError(f"data.source.{self.name}.root is not set: give the folder of the source")
        self.root = Path(root)

    @property
    def roots(self) -> dict[str, Path]:
        return {self.name: self.root}

    @abstractmethod
    def list_pictures(self) -> Iterator[Picture | Dropped]:
        """The content of the annotation files; no picture is opened. Raises InputError: none, or another format."""

    def root_of(self, picture: Picture) -> tuple[str, Path]:
        """Name and folder of the source that the picture's record belongs to."""
        return self.name, self.root

    def read(self, seen: Seen, workers: int = 1) -> Iterator[Item]:
        if not self.root.is_dir():
            raise InputError(f"{self.name}: no folder {self.root}: set data.source.{self.name}.root")
        items = self._read(seen, workers)
        return _group_alike(items) if self.near else (item for item, _ in items)

    def _read(self, seen: Seen, workers: int) -> Iterator[tuple[Item, int]]:
        """Items with the perceptual hash of their picture."""
        for picture, inspected in self._inspect(workers):
            if isinstance(picture, Dropped):
                yield picture, 0
                continue
            try:
                facts = inspected.result()
            except Unusable as error:
                yield Dropped(self.name, picture.name, error.reason, str(error)), 0
                continue
            source, _ = self.root_of(picture)
            items = list(self._make_records(picture, facts, source))
            records = [item for item in items if isinstance(item, Record)]
            is_control = not any(record.boxes for record in records)
            if first := find_twin(seen, facts.pixels, is_control):
                yield Dropped(self.name, picture.name, "duplicate", f"same pixels as {first[1]} of {first[0]}"), 0
                yield from ((Copy(record, first), facts.phash) for record in records)
                continue
            if records:  # a picture without a record does not make its twin a duplicate
                seen[facts.pixels] = source, picture.image, is_control
            yield from ((item, facts.phash) for item in items)

    def _inspect(self, workers: int) -> Iterator[tuple[Picture | Dropped, Future[PictureFacts]]]:
        """The listed items in order, a bounded number of pictures being opened ahead."""
        waiting: deque[tuple[Picture | Dropped, Future[PictureFacts]]] = deque()
        with ThreadPoolExecutor(workers) as pool:  # decoding and hashing release the interpreter's lock
            for item in self.list_pictures():
                inspected: Future[PictureFacts] = Future()  # stays empty for a dropped item
                if isinstance(item, Picture) and not is_text(item.name):
                    item = Dropped(self.name, item.name, "malformed", "a name that no text file can hold")
                elif isinstance(item, Picture):
                    window = item.window or next((region.window for region in item.regions), None)
                    inspected = pool.submit(inspect_picture, self.root_of(item)[1], item.image, window, self.near)
                waiting.append((item, inspected))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft()
            yield from waiting

    def _make_records(self, picture: Picture, facts: PictureFacts, source: str) -> Iterator[Record | Dropped]:
        """One record a category, and what is dropped of the picture."""
        whole = Record(
            id=f"{source}/{picture.name}",
            source=source,
            image=picture.image,
            width=facts.width,
            height=facts.height,
            boxes=(),
            category="no finding",
            modality=picture.modality,
            group=picture.group or facts.patient or picture.name,
            official_split=picture.official_split,
            provenance={"sha256": facts.sha256, **_note_window(facts.window), **_note_orientation(facts)},
            **picture.extra,
        )
        if not picture.regions:
            yield Dropped(self.name, picture.name, "unlabeled", picture.without)
            if picture.is_control:
                yield whole
        boxed: dict[str, list[tuple[Box, Region]]] = defaultdict(list)
        for region in picture.regions:
            try:
                box = self._make_box(region, facts)
                if any(box == other for other, _ in boxed.get(region.category, ())):
                    raise Unusable("duplicate", f"the same box of {region.category} again")
                boxed[region.category].append((box, region))
            except (BoxError, Unusable) as error:
                yield Dropped(self.name, f"{picture.name} {region.where}".strip(), error.reason, str(error))
        for k, (category, pairs) in enumerate(boxed.items(), 1):
            provenance = {**whole.provenance, **_note_window(pairs[0][1].window), "raw": [r.raw for _, r in pairs]}
            name = whole.id + (f"#{k}" if len(boxed) > 1 else "")
            boxes = tuple(box for box, _ in pairs)
            yield replace(whole, id=name, boxes=boxes, category=category, provenance=provenance)

    def _make_box(self, region: Region, facts: PictureFacts) -> Box:
        if not is_text(region.category + region.where):
            raise Unusable("malformed", "a name that no text file can hold")
        if not region.category:
            raise Unusable("unlabeled", "a box without a category")
        return place_box(region.box, region.frame, (facts.width, facts.height), facts.views, self.orientation)


def _group_alike(items: Iterator[tuple[Item, int]]) -> Iterator[Item]:
    """Items with perceptual hashes -> the items, where pictures that look alike share a group."""
    kept: list[tuple[Record | Copy, int]] = []
    for item, phash in items:
        if isinstance(item, Dropped):
            yield item
        else:
            kept.append((item, phash))
    groups = [(item.record if isinstance(item, Copy) else item).group for item, _ in kept]
    firsts = cluster_hashes([phash for _, phash in kept])
    joined = join_linked((groups[i], groups[first]) for i, first in enumerate(firsts))
    for (item, _), group in zip(kept, groups, strict=True):
        if isinstance(item, Copy):
            yield replace(item, record=replace(item.record, group=joined[group]))
        else:
            yield replace(item, group=joined[group])


def _note_window(window: Window | None) -> dict[str, list[float]]:
    return {"window": list(window)} if window else {}


def _note_orientation(facts: PictureFacts) -> dict[str, int]:
    """What shows that somebody has turned the pixels since."""
    return {"orientation": facts.views[1]} if facts.views[1] != 1 else {}
