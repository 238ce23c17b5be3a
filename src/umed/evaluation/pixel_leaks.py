"""Which test pictures occur in training: the same pixels, by hash.

A picture that was scaled or compressed anew has other pixels and is not found, nor is another picture of one lesion.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image
from tqdm import tqdm

from umed.errors import InputError

Open = Callable[[], Image.Image]


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of an item; items of one picture have the same `image` within a `root`."""

    item: str
    image: str
    root: str
    open: Open


def pixel_digest(picture: Image.Image) -> bytes:
    """Of the size and the RGB pixels."""
    rgb = picture.convert("RGB")
    return hashlib.blake2b(f"{rgb.size}".encode() + rgb.tobytes(), digest_size=16).digest()


def digests(shown: Iterable[Shown], title: str, workers: int) -> dict[tuple[str, str], bytes | InputError]:
    """(root, image) -> digest, or why it cannot be opened; each picture is opened once."""
    first = {(s.root, s.image): s for s in reversed(list(shown))}

    def digest(one: Shown) -> bytes | InputError:
        try:
            return pixel_digest(one.open())
        except InputError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(digest, first.values())
        bar = tqdm(found, desc=f"hashing {title}", total=len(first), unit="picture", leave=False, disable=None)
        return dict(zip(first, bar, strict=True))


def leaks(
    tests: Mapping[str, Sequence[Shown]], trains: Mapping[str, Mapping[str, Sequence[Shown]]], workers: int = 4
) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Test pictures of each data set that lie in a training part too.

    Args:
        tests: data set -> its test items.
        trains: data set -> name of a training part -> its items; a part that several data sets name is hashed once.

    Returns:
        data set -> `pictures`, `items` and, for each training part, how many of both it holds, how many of its
        pictures are `unread` and why the first is; and a line for each test item that leaks: `dataset`, `id`, `image`,
        `where` and the training item `found`.

    Raises:
        InputError: a test picture cannot be opened. A training picture may be missing: the test goes without it.
    """
    known: dict[int, tuple[dict[bytes, str], list[str]]] = {}
    summary: dict[str, dict[str, Any]] = {}
    lines = []
    for dataset, test in tests.items():
        own = _all_read(digests(test, f"{dataset}, test", workers))
        summary[dataset] = {"pictures": len(set(own.values())), "items": len(test)}
        for where, train in trains.get(dataset, {}).items():
            if id(train) not in known:
                item_of = {(s.root, s.image): s.item for s in reversed(train)}
                of_train = digests(train, f"{where} of {dataset}", workers)
                known[id(train)] = (
                    {d: item_of[key] for key, d in reversed(of_train.items()) if isinstance(d, bytes)},
                    [str(d) for d in of_train.values() if isinstance(d, InputError)],
                )
            there, unread = known[id(train)]
            found = [(s, there[d]) for s in test if (d := own[s.root, s.image]) in there]
            pictures = {own[s.root, s.image] for s, _ in found}
            summary[dataset][where] = {"pictures": len(pictures), "items": len(found), "unread": len(unread)}
            if unread:
                summary[dataset][where]["first_unread"] = unread[0]
            lines += [
                {"dataset": dataset, "id": s.item, "image": s.image, "where": where, "found": item} for s, item in found
            ]
    return summary, lines


def _all_read(found: Mapping[tuple[str, str], bytes | InputError]) -> dict[tuple[str, str], bytes]:
    for digest in found.values():
        if isinstance(digest, InputError):
            raise digest
    return {key: digest for key, digest in found.items() if isinstance(digest, bytes)}


def leaked(lines: Iterable[Mapping[str, str]]) -> dict[str, set[str]]:
    """Data set -> ids of its test items whose picture lies in a training part."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        found[line["dataset"]].add(line["id"])
    return dict(found)
