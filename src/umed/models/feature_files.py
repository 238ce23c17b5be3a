"""Features as files, one a picture, the least recently used removed; a disk that fails costs no more than them."""

import os
import re
import sys
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from tqdm import tqdm

from umed.models.features import PictureFeatures, as_bytes
from umed.models.weights import first_line

SUFFIX = ".safetensors"
_OURS = re.compile(rf"[0-9a-f]{{32}}{re.escape(SUFFIX)}(\.\d+\.part)?")
LISTED, QUERIES, CHECKSUM = "is_listed", "has_queries", "checksum"


class FeatureFiles:
    """Features by key in a folder that several processes may share.

    What cannot be written or read is said in one line, once, and is computed again.

    Args:
        limit: bytes of all files; several processes together may pass it by an eighth each.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._room = 0  # bytes that can be written before the folder is looked at
        self._is_writable = True
        self._said: set[str] = set()

    def read(self, key: str) -> PictureFeatures | None:
        """The features, None = not there or not readable."""
        path = self._path(key)
        try:
            features = _unpack(load(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            self._say("read", f"{path} is not readable ({first_line(error)}): such pictures are encoded again")
            self._remove(path)
            return None
        with suppress(OSError):  # a folder that can only be read
            os.utime(path)  # used now
        return features

    def write(self, key: str, features: PictureFeatures) -> None:
        """Write a file whole, or none."""
        if not self._is_writable:
            return
        path, data = self._path(key), save(_pack(features))
        if len(data) > self._limit // 8:
            self._say(
                "large",
                f"a picture's features take {len(data) / 2**20:.1f} MiB, so none of them is kept on the disk: set "
                f"engine.features.disk_mb to {8 * len(data) / 2**20:.0f} at least",
            )
            return
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if len(data) > self._room:
                self._make_room()
            part.write_bytes(data)
            part.replace(path)
            self._room -= len(data)
        except OSError as error:
            self._is_writable = False
            self._remove(part)
            self._say(
                "written",
                f"{self._folder} cannot be written ({error.strerror or first_line(error)}): the run goes on without "
                "new files; make room, set engine.features.folder, or engine.features.disk_mb=0",
            )

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"

    def _make_room(self) -> None:
        """Remove the files that were not used for longest, down to seven eighths of the limit."""
        files = []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):  # another process removed it
                if _OURS.fullmatch(entry.name):
                    files.append((entry.stat().st_mtime_ns, entry.stat().st_size, Path(entry.path)))
        total, eighth = sum(size for _, size, _ in files), self._limit // 8
        for _, size, path in sorted(files):
            if total <= self._limit - eighth:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._room = eighth

    def _remove(self, path: Path) -> None:
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def _say(self, kind: str, line: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            tqdm.write(f"engine.features: {line}", file=sys.stderr)


def _pack(features: PictureFeatures) -> dict[str, Tensor]:
    tensors = {str(i): t.contiguous() for i, t in enumerate(features.tensors)}
    flags = {LISTED: torch.tensor(features.is_listed), CHECKSUM: torch.tensor(_checksum(tensors))}
    return {**tensors, **flags, **({} if features.queries is None else {QUERIES: torch.tensor(True)})}


def _unpack(tensors: dict[str, Tensor]) -> PictureFeatures:
    """Raises ValueError or KeyError: not what `_pack` made."""
    is_listed, checksum = bool(tensors.pop(LISTED)), int(tensors.pop(CHECKSUM))
    has_queries = tensors.pop(QUERIES, None) is not None
    if checksum != _checksum(tensors):
        raise ValueError("wrong checksum")
    each = [tensors[str(i)] for i in range(len(tensors))]
    queries = each.pop() if has_queries else None
    return PictureFeatures(each[0], tuple(each[1:]), is_listed, queries)


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    total = 0
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(as_bytes(tensor), zlib.crc32(name.encode(), total))
    return total
