"""One look at a stored picture: its real size, digests of file and pixels, a hash of its appearance."""

import errno
import hashlib
import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import imagehash
import numpy as np

from umed import dicom
from umed.data.splits import components
from umed.pictures import UNREADABLE, decoded, rgb, stored

ALIKE = 6  # bits of 64 in which two perceptual hashes of one scene may differ
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class Unusable(Exception):
    """A picture that gives no record; `reason` is the word of `dropped.jsonl`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(" ".join(detail.split()))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Look:
    """`sha256` of the file, `pixels`: digest of the decoded pixels, `phash`: 64 bits; `patient` of a DICOM file."""

    width: int
    height: int
    sha256: str
    pixels: bytes
    phash: int = 0
    patient: str = ""


def look(root: Path, image: str, window: tuple[float, float, float] | None = None, near: bool = False) -> Look:
    """Read and decode the whole file, so that a truncated one is found here.

    Args:
        near: also compute the perceptual hash.

    Raises:
        Unusable: `missing_file`; `malformed`: the path leads out of the root; `unreadable`: anything else.
    """
    path = root / image
    try:
        check_inside(root, image)
        content = _read(path)
        with stored(io.BytesIO(content), path) as picture:
            raw = rgb(picture) if picture.mode in ("L", "P", "1", "RGBA", "LA") else picture
            head = f"{raw.mode} {raw.size}".encode()
            pixels = hashlib.blake2b(head + raw.tobytes(), digest_size=16).digest()
            shown = decoded(picture, path, window)
        phash = int(str(imagehash.phash(shown)), 16) if near else 0
        return Look(*shown.size, hashlib.sha256(content).hexdigest(), pixels, phash, dicom.patient(content))
    except UNREADABLE as error:
        absent = isinstance(error, OSError) and error.errno in _ABSENT
        told = (isinstance(error, OSError) and error.strerror) or error
        raise Unusable("missing_file" if absent else "unreadable", f"{image}: {told}") from None


def check_inside(root: Path, image: str) -> None:
    """Raise `Unusable` where the path climbs out of the root, by its name or through a link."""
    if "\0" in image:
        raise Unusable("malformed", f"{image!r} is no path of a file")
    real = Path(os.path.realpath(root / image))  # Path.resolve raises where links go round in a circle
    if Path(image).is_absolute() or not real.is_relative_to(os.path.realpath(root)):
        raise Unusable("malformed", f"{image} leads out of {root}: move the picture there")


def _read(path: Path) -> bytes:
    with open(path, "rb", opener=_without_waiting) as f:  # Path.open has no opener
        if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
            raise OSError("not a file")
        return f.read()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe that nobody writes to would hold us for ever


def clusters(hashes: Sequence[int], alike: int = ALIKE) -> list[int]:
    """For each hash the position of the first one that it is joined to by steps of at most `alike` bits."""
    codes = np.asarray(hashes, np.uint64)
    alone = ((i, i) for i in range(len(codes)))
    joined = (
        (int(j), i) for i in range(len(codes)) for j in np.flatnonzero(np.bitwise_count(codes[:i] ^ codes[i]) <= alike)
    )
    first = components(chain(alone, joined))
    return [first[i] for i in range(len(codes))]
