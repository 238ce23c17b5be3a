"""What a source must know of a stored picture: its real size, digests of file and pixels, a perceptual hash."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import imagehash
import numpy as np

from umed import dicom
from umed.data.files import Unusable, read_inside
from umed.data.splits import join_linked
from umed.pictures import UNREADABLE, Views, Window, convert_to_rgb, drop_alpha, read_stored

ALIKE = 6  # bits of 64 in which the perceptual hashes of two frames of one scene may differ


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """`sha256` of the file, `pixels`: digest of the decoded pixels, `phash`: 64 bits; `patient` of a DICOM file.

    `views`: see `pictures.Views`.
    """

    width: int
    height: int
    sha256: str
    pixels: bytes
    phash: int = 0
    patient: str = ""
    views: Views = (1, 1)


def inspect_picture(root: Path, image: str, window: Window | None = None, near: bool = False) -> PictureFacts:
    """Decode the whole file; `near`: hash it too. Raises Unusable: see `read_inside`; `unreadable`: also damaged."""
    try:
        content = read_inside(root, image)
        with read_stored(io.BytesIO(content), root / image) as picture:
            raw = drop_alpha(picture) if picture.mode in ("L", "P", "1", "RGBA", "LA") else picture
            head = f"{raw.mode} {raw.size}".encode()
            pixels = hashlib.blake2b(head + raw.tobytes(), digest_size=16).digest()
            views = picture.info.get("views", (1, 1))
            shown = convert_to_rgb(picture, window)
        phash = int(str(imagehash.phash(shown)), 16) if near else 0
        sha256 = hashlib.sha256(content).hexdigest()
        return PictureFacts(*shown.size, sha256, pixels, phash, dicom.hash_patient(content), views=views)
    except UNREADABLE as error:
        raise Unusable("unreadable", f"{image}: {error}") from None


def cluster_hashes(hashes: Sequence[int], alike: int = ALIKE) -> list[int]:
    """For each hash the position of the first one that it is joined to by steps of at most `alike` bits."""
    codes = np.asarray(hashes, np.uint64)
    singles = ((i, i) for i in range(len(codes)))
    pairs = (
        (int(j), i) for i in range(len(codes)) for j in np.flatnonzero(np.bitwise_count(codes[:i] ^ codes[i]) <= alike)
    )
    first = join_linked(chain(singles, pairs))
    return [first[i] for i in range(len(codes))]
