"""Pictures as annotation files name them, also with the paths of Windows or of another machine."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from umed.data.files import drop_suffix, list_files

PLACES = ("", "images")  # folders below the root in which a name is looked for
LABELS = (".xml", ".txt", ".json", ".csv", ".yaml")
_ELSEWHERE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:/")  # an absolute path, one of a drive, a URL


class PictureFinder:
    """Finds files below `root`, never above it; its folders are listed only if a name is not there as written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find_all(self, names: Iterable[str], folders: Sequence[str] = ("",)) -> dict[str, str]:
        """Name -> path relative to the root, see `find`.

        A name without a file keeps its own path, and so does one that is not there as written if its file is also that
        of another name.
        """
        written = {name: self._find_written(name, folders) for name in names}
        paths = {name: path or self._find_alike(name, folders) for name, path in written.items()}
        owners = defaultdict(set)
        for name, path in paths.items():
            owners[path].add(unicodedata.normalize("NFC", _clean(name)))
        return {
            name: path if path and (written[name] or len(owners[path]) == 1) else _clean(name)
            for name, path in paths.items()
        }

    def find(self, name: str, folders: Sequence[str] = ("",)) -> str:
        """The file's path relative to the root, "" if there is none.

        In each of the `folders`, in this order: the name as written; with `/` for backslashes and `%20` decoded; in
        other case or another Unicode form, or without its extension, if one file alone fits. Of an absolute path or a
        URL, the longest end that is a file.
        """
        return self._find_written(name, folders) or self._find_alike(name, folders)

    def _find_written(self, name: str, folders: Sequence[str]) -> str:
        spellings = dict.fromkeys((name, name.replace("\\", "/"), _clean(name)))
        paths = [os.path.normpath(os.path.join(folder, spelling)) for spelling in spellings for folder in folders]
        return next(filter(self._is_file, paths), "")

    def _find_alike(self, name: str, folders: Sequence[str]) -> str:
        for end in _list_ends(_clean(name)):
            for path in (os.path.normpath(os.path.join(folder, end)) for folder in folders):
                fitting = [path] if self._is_file(path) else self._by_fold.get(_fold(path), [])
                if len(fitting) == 1:
                    return fitting[0]
        return ""

    def _is_file(self, path: str) -> bool:
        """Whether it is a file or link below the root; a dangling link counts, and is dropped as missing."""
        is_below = not os.path.isabs(path) and path.split("/")[0] != ".."
        return is_below and (os.path.isfile(self.root / path) or os.path.islink(self.root / path))

    @cached_property
    def _by_fold(self) -> dict[str, list[str]]:
        """The files by their folded path, with and without the extension."""
        files: dict[str, list[str]] = defaultdict(list)
        for path in list_files(self.root):
            files[_fold(path)].append(path)
            if os.path.splitext(path)[1].lower() not in ("", *LABELS):
                files[_fold(drop_suffix(path))].append(path)
        return files


def key_by_stem(pictures: Iterable[str]) -> Callable[[str], str]:
    """A function of a file name that is equal for a picture and its label or mask: other case or Unicode forms too.

    Case counts where two of the pictures differ in nothing else.
    """
    stems = set(map(drop_suffix, pictures))
    is_unique = len(set(map(_fold, stems))) == len(stems)
    return lambda name: _fold(drop_suffix(name)) if is_unique else drop_suffix(name)


def _clean(name: str) -> str:
    return os.path.normpath(unquote(name).replace("\\", "/"))


def _fold(path: str) -> str:
    """The path as file systems compare it that ignore case and Unicode forms."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _list_ends(path: str) -> Iterator[str]:
    """The path itself, or, of one that belongs to another machine, its ends from long to short."""
    if not _ELSEWHERE.match(path):
        yield path
        return
    parts = [part for part in re.split(r"/|\?d=", path) if part]  # ?d=: a local file of Label Studio
    if ".." not in parts:
        yield from ("/".join(parts[start:]) for start in range(len(parts)))
