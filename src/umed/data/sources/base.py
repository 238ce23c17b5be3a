"""A source: files on disk in, records out. One file per source says what its pictures are; the rest is done here."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from umed.boxes import Box, BoxError
from umed.data.look import Look, Unusable, clusters, look
from umed.errors import InputError
from umed.records import Dropped, Record

MakeBox = Callable[[int, int], Box]


class Source(Protocol):
    """One data set on disk, or several that belong together."""

    @property
    def roots(self) -> dict[str, Path]:
        """Name of each source -> folder to which the `image` of its records is relative."""

    def read(self, seen: dict[bytes, str], workers: int) -> Iterator[Record | Dropped]:
        """Every item, kept or dropped; a record without boxes is a control: a picture known to be normal.

        Args:
            seen: digest of pixels -> id of the picture that has them, shared by all sources and filled here.
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


class PictureSource:
    """A source that lists its pictures; opening, hashing, boxes, groups and records are the same for all.

    Args:
        root: folder as released.
        name: of the source in records and metrics.
    """

    near = False  # pictures that look alike (frames of one video) are one group

    def __init__(self, root: str | Path, name: str) -> None:
        self.root, self.name = Path(root), name

    @property
    def roots(self) -> dict[str, Path]:
        return {self.name: self.root}

    def pictures(self) -> Iterator[Picture | Dropped]:
        """What the annotation files say, in one pass; no picture is opened.

        Raises:
            InputError: no such files, or not in the format of the source.
        """
        raise NotImplementedError

    def root_of(self, picture: Picture) -> tuple[str, Path]:
        """Name and folder of the source that the picture's record belongs to."""
        return self.name, self.root

    def read(self, seen: dict[bytes, str], workers: int = 1) -> Iterator[Record | Dropped]:
        if not self.root.is_dir():
            raise InputError(f"{self.name}: no folder {self.root}: set data.source.{self.name}.root")
        found = self._read(seen, workers)
        return self._grouped(found) if self.near else (item for item, _ in found)

    def _read(self, seen: dict[bytes, str], workers: int) -> Iterator[tuple[Record | Dropped, int]]:
        """Records and drops with the perceptual hash of their picture."""
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
            if seen_as.pixels in seen:
                detail = f"same pixels as {seen[seen_as.pixels]}"
                yield Dropped(self.name, picture.name, "duplicate", detail), 0
                continue
            seen[seen_as.pixels] = f"{source}/{picture.name}"
            for item in self._records(picture, seen_as, source):
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

    def _grouped(self, found: Iterator[tuple[Record | Dropped, int]]) -> Iterator[Record | Dropped]:
        """The same with pictures that look alike in one group, named after the first in the alphabet."""
        records: list[tuple[Record, int]] = []
        for item, phash in found:
            if isinstance(item, Record):
                records.append((item, phash))
            else:
                yield item
        tops = clusters([phash for _, phash in records])
        name: dict[int, str] = {}
        for top, (record, _) in zip(tops, records, strict=True):
            name[top] = min(name.get(top, record.group), record.group)
        yield from (replace(record, group=name[top]) for top, (record, _) in zip(tops, records, strict=True))


def _window(window: tuple[float, float, float] | None) -> dict[str, list[float]]:
    return {"window": list(window)} if window else {}


def plain(category: str) -> str:
    """A category in lower case with single spaces."""
    return " ".join(category.lower().replace("_", " ").split())
