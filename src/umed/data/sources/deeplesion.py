"""DeepLesion: key slices of CT, one row of `DL_info.csv` per lesion."""

import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial

from umed.boxes import Box
from umed.data.files import parse_finite, read_table
from umed.data.frames import Frame
from umed.data.sources.base import Picture, PictureSource, Region
from umed.records import Dropped

log = logging.getLogger(__name__)

NEEDED = (
    *("File_name", "Measurement_coordinates", "Bounding_boxes", "Coarse_lesion_type", "Possibly_noisy"),
    *("DICOM_windows", "Image_size", "Train_Val_Test"),
)
ORGANS = ("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis")
CATEGORIES = {-1: ""} | dict(enumerate(ORGANS, 1))  # -1: all of the official training part
SPLITS = {"1": "train", "2": "val", "3": "test"}
UNREADABLE = ("001064_01_01_200.png", "001096_04_02_170.png", "002084_01_02_259.png")  # in every copy of the release
OFFSET = -32768.0  # stored value + OFFSET = HU
MARGIN = 5  # px: the released boxes are the ends of the two RECIST diameters, widened by this
_NAME = re.compile(r"([0-9]+)_[0-9]+_[0-9]+_[0-9]+\.png")

Row = dict[str, str]


class DeepLesionSource(PictureSource):
    """Slices with lesions of known type (validation, test); `root`: with `DL_info.csv` and `Images_png/`."""

    name = "deeplesion"

    def list_pictures(self) -> Iterator[Picture | Dropped]:
        """The rows that are dropped, as `File_name row <line of the file>`, then each slice with its lesions."""
        regions: dict[str, list[Region]] = defaultdict(list)  # rows of one slice need not follow each other
        splits: dict[str, str] = {}
        checked = unlike = 0
        table = read_table(self.root / "DL_info.csv", "the list of lesions, as released,", NEEDED)
        for line, row, problem in table:
            name = row["File_name"]
            item = f"{name} row {line}".strip()
            if name in UNREADABLE:
                yield Dropped(self.name, item, "unreadable", "a file that is broken in the release")
                continue
            try:
                if problem:
                    raise ValueError(problem)
                if not _NAME.fullmatch(name):
                    raise ValueError("File_name is not patient_study_series_slice.png")
                box, window, category, is_noisy = _parse_row(row)
                frame = Frame.parse(*_parse_numbers(row, "Image_size", 2), needed=True)
            except ValueError as error:
                yield Dropped(self.name, item, "malformed", str(error))
                continue
            checked, unlike = checked + 1, unlike + (not _fits_diameters(row, box))
            if is_noisy:
                yield Dropped(self.name, item, "noisy", "Possibly_noisy is 1")
            elif not category:
                yield Dropped(self.name, item, "unlabeled", "Coarse_lesion_type is -1")
            else:
                make_box = partial(Box.from_xyxy, box, one_based=True)
                regions[name].append(Region(category, make_box, f"row {line}", _clean_row(row), window, frame))
                splits.setdefault(name, SPLITS.get(row["Train_Val_Test"], ""))
        if unlike:
            log.warning(
                f"{self.name}: {unlike} of {checked} boxes are not the ends of their diameters +-{MARGIN} px: "
                "is this the released DL_info.csv?"
            )
        for name, of_slice in regions.items():
            series, _, slice_name = name.rpartition("_")
            image = f"Images_png/{series}/{slice_name}"
            yield Picture(image, name, "CT", of_slice, group=name.partition("_")[0], official_split=splits[name])


def _parse_row(row: Row) -> tuple[tuple[float, ...], tuple[float, float, float], str, bool]:
    """Box (1-based xyxy), window, category ("" = unknown), and whether it is noisy; ValueError: not the release's."""
    box = _parse_numbers(row, "Bounding_boxes", 4)
    low, high = _parse_numbers(row, "DICOM_windows", 2)
    if low >= high:
        raise ValueError(f"DICOM_windows is {low:g}, {high:g}: the first must be the lower")
    [number] = _parse_numbers(row, "Coarse_lesion_type", 1)
    if number not in CATEGORIES:
        raise ValueError(f"Coarse_lesion_type is {number:g}: 1 to 8 or -1 is expected")
    [noisy] = _parse_numbers(row, "Possibly_noisy", 1)
    if noisy not in (0, 1):
        raise ValueError(f"Possibly_noisy is {noisy:g}: 0 or 1 is expected")
    return box, (low, high, OFFSET), CATEGORIES[int(number)], noisy == 1


def _parse_numbers(row: Row, column: str, count: int) -> tuple[float, ...]:
    try:
        numbers = parse_finite(row[column].split(","))
    except ValueError as error:
        raise ValueError(f"{column}: {error}") from None
    if len(numbers) != count:
        raise ValueError(f"{column}: {len(numbers)} numbers, {count} expected")
    return numbers


def _fits_diameters(row: Row, box: Sequence[float]) -> bool:
    """Whether the box is that of the diameters' ends (x, y, x, y, ...) to a pixel."""
    try:
        ends = _parse_numbers(row, "Measurement_coordinates", 8)
    except ValueError:
        return False
    xs, ys = ends[0::2], ends[1::2]
    wanted = (min(xs) - MARGIN, min(ys) - MARGIN, max(xs) + MARGIN, max(ys) + MARGIN)
    return all(math.isclose(a, b, rel_tol=0, abs_tol=1) for a, b in zip(wanted, box, strict=True))


def _clean_row(row: Row) -> dict[str, str | None]:
    """The row as stored; an unknown age is None, which pandas writes as `nan`."""
    unknown = row.get("Patient_age", "").lower() in ("", "nan")
    return {column: None if unknown and column == "Patient_age" else cell for column, cell in row.items()}
