"""Which test pictures occur in training, by a hash of their pixels: `leaks.json` and `leaks.jsonl`.

A picture that was scaled or compressed anew has other pixels and is not found, nor is another picture of one lesion.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from tqdm import tqdm

from umed.errors import InputError
from umed.pictures import picture_of
from umed.records import RecordSet
from umed.run_files import read_jsonl, write_jsonl, write_whole

if TYPE_CHECKING:
    from umed.evaluation.datamodule import BenchmarkDataModule  # imports Lightning, which a report does without

OWN_TRAIN, TUNED_ON = "own_train", "mau_train"  # the data set's own training part; the records of tuning


@dataclass(frozen=True, slots=True)
class ItemPicture:
    """The picture of an item; items of one picture have the same `image` within a `part`."""

    item: str
    image: str
    part: str
    open: Callable[[], Image.Image]


@dataclass(frozen=True, slots=True)
class Leak:
    """A test item whose picture lies in the training part `where`, with the training item `found`."""

    dataset: str
    id: str
    image: str
    where: str
    found: str


@dataclass
class Overlap:
    """How much of a test part lies in one training part; of that part, pictures that could not be opened."""

    pictures: int
    items: int
    unread: int
    first_unread: str = ""


@dataclass
class TestPart:
    """A test part, and its overlap with each training part."""

    pictures: int
    items: int
    overlaps: dict[str, Overlap] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        overlaps = {w: {k: v for k, v in asdict(o).items() if v != ""} for w, o in self.overlaps.items()}
        return {"pictures": self.pictures, "items": self.items, **overlaps}


def find_leaks(data: BenchmarkDataModule, tuned_on: RecordSet | None, run: Path, workers: int) -> dict[str, set[str]]:
    """Compare the test pictures of every data set with its own training part and with the records of tuning.

    Prints what was found and writes it into the run folder.

    Args:
        tuned_on: records that the model is, or was, tuned on; its train split counts.
        workers: threads that open pictures.

    Returns:
        Data set -> ids of its test items whose picture lies in training.

    Raises:
        InputError: a test picture cannot be opened. Training pictures that cannot be are counted and left out.
    """
    tuning = [] if tuned_on is None else _tuning_pictures(tuned_on)
    tests: dict[str, list[ItemPicture]] = defaultdict(list)
    for question in data.questions:
        picture = partial(data.owner(question.dataset).picture, question)
        tests[question.dataset].append(ItemPicture(question.id, question.image or question.id, question.part, picture))
    trains: dict[str, dict[str, Sequence[ItemPicture]]] = {}
    for dataset in tests:
        own = [
            ItemPicture(q.id, q.image or q.id, q.part, partial(data.owner(dataset).picture, q))
            for q in data.train(dataset)
        ]
        trains[dataset] = {name: part for name, part in ((OWN_TRAIN, own), (TUNED_ON, tuning)) if part}
    summary, leaks = compare_pictures(tests, trains, workers)
    for dataset, test in summary.items():
        for where, overlap in test.overlaps.items():
            _report(dataset, test, where, overlap, run)
    write_jsonl(run / "leaks.jsonl", (asdict(leak) for leak in leaks))
    text = json.dumps({dataset: test.to_json() for dataset, test in summary.items()}, indent=1)
    write_whole(run / "leaks.json", text + "\n")
    return _ids_by_dataset((leak.dataset, leak.id) for leak in leaks)


def read_leaks(run: Path) -> dict[str, set[str]]:
    """What `find_leaks` has returned for a run; empty where it was not called."""
    path = run / "leaks.jsonl"
    return _ids_by_dataset((line["dataset"], line["id"]) for line in read_jsonl(path)) if path.is_file() else {}


def compare_pictures(
    tests: Mapping[str, Sequence[ItemPicture]],
    trains: Mapping[str, Mapping[str, Sequence[ItemPicture]]],
    workers: int = 4,
) -> tuple[dict[str, TestPart], list[Leak]]:
    """Test pictures of each data set that lie in a training part too; each part is hashed once.

    Args:
        tests: data set -> its test items.
        trains: data set -> name of a training part -> its items.

    Raises:
        InputError: a test picture cannot be opened.
    """
    hashed: dict[int, tuple[dict[bytes, str], list[str]]] = {}
    summary: dict[str, TestPart] = {}
    leaks: list[Leak] = []
    for dataset, test in tests.items():
        digests, failures = hash_pictures(test, f"{dataset}, test", workers)
        if failures:
            raise failures[0]
        summary[dataset] = TestPart(len(set(digests.values())), len(test))
        for where, train in trains.get(dataset, {}).items():
            if id(train) not in hashed:
                item_of = {(p.part, p.image): p.item for p in reversed(train)}
                of_train, lost = hash_pictures(train, f"{where} of {dataset}", workers)
                first_of = {digest: item_of[key] for key, digest in reversed(of_train.items())}
                hashed[id(train)] = first_of, [str(error) for error in lost]
            there, unread = hashed[id(train)]
            found = [
                Leak(dataset, picture.item, picture.image, where, there[digest])
                for picture in test
                if (digest := digests[picture.part, picture.image]) in there
            ]
            pictures = {digest for digest in digests.values() if digest in there}
            summary[dataset].overlaps[where] = Overlap(len(pictures), len(found), len(unread), (unread or [""])[0])
            leaks += found
    return summary, leaks


def hash_pixels(picture: Image.Image) -> bytes:
    """A digest of the size and the RGB pixels."""
    rgb = picture.convert("RGB")
    return hashlib.blake2b(f"{rgb.size}".encode() + rgb.tobytes(), digest_size=16).digest()


def hash_pictures(
    pictures: Iterable[ItemPicture], title: str, workers: int
) -> tuple[dict[tuple[str, str], bytes], list[InputError]]:
    """(part, image) -> digest, and why others cannot be opened; each picture is opened once."""
    first = {(p.part, p.image): p for p in reversed(list(pictures))}

    def hash_one(picture: ItemPicture) -> bytes | InputError:
        try:
            return hash_pixels(picture.open())
        except InputError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(hash_one, first.values())
        bar = tqdm(results, desc=f"hashing {title}", total=len(first), unit="picture", leave=False, disable=None)
        hashed = dict(zip(first, bar, strict=True))
    digests = {key: value for key, value in hashed.items() if isinstance(value, bytes)}
    return digests, [value for value in hashed.values() if isinstance(value, InputError)]


def _tuning_pictures(data: RecordSet) -> list[ItemPicture]:
    return [
        ItemPicture(r.id, r.image, r.source, partial(picture_of, r, data.roots))
        for r in data.records
        if r.split == "train"
    ]


def _ids_by_dataset(items: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    ids: dict[str, set[str]] = defaultdict(set)
    for dataset, item in items:
        ids[dataset].add(item)
    return dict(ids)


def _report(dataset: str, test: TestPart, where: str, overlap: Overlap, run: Path) -> None:
    if overlap.items:
        print(
            f"leak: {overlap.pictures} of {test.pictures} test pictures of {dataset} ({overlap.items} of {test.items} "
            f"items) are in {where}: see {run / 'leaks.jsonl'}"
        )
    if overlap.unread:
        print(
            f"leaks: {overlap.unread} training pictures of {where} of {dataset} cannot be opened and were not "
            f"compared, the first: {overlap.first_unread}"
        )
