"""DeepLesion: key slices of CT, one row of `DL_info.csv` per lesion."""

import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from umed.boxes import Box
from umed.data.sources.base import Picture, PictureSource, Region
from umed.data.sources.files import finite, printable, read_rows
from umed.errors import InputError
from umed.records import Dropped

log = logging.getLogger(__name__)

NEEDED = (
    *("File_name", "Measurement_coordinates", "Bounding_boxes", "Coarse_lesion_type", "Possibly_noisy"),
    *("DICOM_windows", "Train_Val_Test"),
)
CATEGORIES = {
    1: "bone",
    2: "abdomen",
    3: "mediastinum",
    4: "liver",
    5: "lung",
    6: "kidney",
    7: "soft tissue",
    8: "pelvis",
    -1: "",  # all of the official training part
}
SPLITS = {"1": "train", "2": "val", "3": "test"}
UNREADABLE = ("001064_01_01_200.png", "001096_04_02_170.png", "002084_01_02_259.png")  # in every copy of the release
OFFSET = -32768.0  # stored value + OFFSET = HU
MARGIN = 5  # px: the released boxes are the ends of the two RECIST diameters, widened by this
_NAME = re.compile(r"([0-9]+)_[0-9]+_[0-9]+_[0-9]+\.png")

Row = dict[str, str]


class DeepLesionSource(PictureSource):
    """Slices with the lesions whose type is known: those of the official validation and test parts.

    Args:
        root: folder with `DL_info.csv` and `Images_png/`.
        name: of the source in records and metrics.
    """

    def __init__(self, root: str | Path, name: str = "deeplesion") -> None:
        super().__init__(root, name)

    def pictures(self) -> Iterator[Picture | Dropped]:
        """The rows that are dropped, as `File_name row <line of the file>`, then each slice with its lesions."""
        regions: dict[str, list[Region]] = defaultdict(list)  # rows of one slice need not follow each other
        splits: dict[str, str] = {}
        checked = unlike = 0
        for line, row, wrong in self._rows():
            name = row["File_name"]
            item = f"{printable(name)} row {line}".strip()
            if name in UNREADABLE:
                yield Dropped(self.name, item, "unreadable", "a file that is broken in the release")
                continue
            try:
                if wrong:
                    raise ValueError(wrong)
                if not _NAME.fullmatch(name):
                    raise ValueError("File_name is not patient_study_series_slice.png")
                box, window, category, is_noisy = _values(row)
            except ValueError as error:
                yield Dropped(self.name, item, "malformed", str(error))
                continue
            checked, unlike = checked + 1, unlike + (not _fits_diameters(row["Measurement_coordinates"], box))
            if is_noisy:
                yield Dropped(self.name, item, "noisy", "Possibly_noisy is 1")
            elif not category:
                yield Dropped(self.name, item, "unlabeled", "Coarse_lesion_type is -1")
            else:
                make_box = partial(Box.from_xyxy, box, one_based=True)
                regions[name].append(Region(category, make_box, f"row {line}", _raw(row), window))
                splits.setdefault(name, SPLITS.get(row["Train_Val_Test"], ""))
        if unlike:
            log.warning(
                f"{self.name}: {unlike} of {checked} boxes are not the ends of their diameters +-{MARGIN} px: "
                "is this the released DL_info.csv?"
            )
        for name, found in regions.items():
            series, _, slice_name = name.rpartition("_")
            yield Picture(
                image=f"Images_png/{series}/{slice_name}",
                name=name,
                modality="CT",
                regions=found,
                group=name.partition("_")[0],
                official_split=splits[name],
            )

    def _rows(self) -> Iterator[tuple[int, Row, str]]:
        """Line number, cells by the name of their column, and what is wrong with their number."""
        path = self.root / "DL_info.csv"
        rows = read_rows(path, "the list of lesions")
        header = [cell.strip() for cell in next(rows, (0, []))[1]]
        while header and not header[-1]:
            header.pop()
        missing = [column for column in NEEDED if column not in header]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}: take DL_info.csv as released")
        for line, cells in rows:
            cells = [cell.strip() for cell in cells]
            while len(cells) > len(header) and not cells[-1]:
                cells.pop()
            row = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
            yield line, row, "" if len(cells) == len(header) else f"{len(cells)} columns, {len(header)} are expected"


def _values(row: Row) -> tuple[tuple[float, ...], tuple[float, float, float], str, bool]:
    """Box (1-based xyxy), window, category ("" = unknown), and whether it is noisy; ValueError: not the release's."""
    box = _numbers(row, "Bounding_boxes", 4)
    low, high = _numbers(row, "DICOM_windows", 2)
    if low >= high:
        raise ValueError(f"DICOM_windows is {low:g}, {high:g}: the first must be the lower")
    [kind] = _numbers(row, "Coarse_lesion_type", 1)
    if kind not in CATEGORIES:
        raise ValueError(f"Coarse_lesion_type is {kind:g}: 1 to 8 or -1 is expected")
    [noisy] = _numbers(row, "Possibly_noisy", 1)
    if noisy not in (0, 1):
        raise ValueError(f"Possibly_noisy is {noisy:g}: 0 or 1 is expected")
    return box, (low, high, OFFSET), CATEGORIES[int(kind)], noisy == 1


def _numbers(row: Row, column: str, count: int) -> tuple[float, ...]:
    try:
        numbers = finite(row[column].split(","))
    except ValueError as error:
        raise ValueError(f"{column}: {error}") from None
    if len(numbers) != count:
        raise ValueError(f"{column}: {len(numbers)} numbers, {count} expected")
    return numbers


def _fits_diameters(measured: str, box: Sequence[float]) -> bool:
    """Whether the box is that of the diameters' ends (x, y, x, y, ...) to a pixel."""
    try:
        ends = finite(measured.split(","))
    except ValueError:
        return False
    if len(ends) != 8:
        return False
    xs, ys = ends[0::2], ends[1::2]
    wanted = (min(xs) - MARGIN, min(ys) - MARGIN, max(xs) + MARGIN, max(ys) + MARGIN)
    return all(math.isclose(a, b, rel_tol=0, abs_tol=1) for a, b in zip(wanted, box, strict=True))


def _raw(row: Row) -> dict[str, str | None]:
    """The row as it stands; an age that is not known is None: pandas writes it as `nan`."""
    unknown = row.get("Patient_age", "").lower() in ("", "nan")
    return {column: None if unknown and column == "Patient_age" else cell for column, cell in row.items() if column}
