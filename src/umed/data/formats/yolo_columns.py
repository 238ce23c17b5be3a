"""What the columns of YOLO label files are: a box, a polygon, or a box with keypoints, confidence or track id."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umed.boxes import BoxError
from umed.data.files import parse_finite
from umed.errors import InputError

SLACK = 1e-3  # a fraction may be this far outside [0, 1]: exporters round
BOX, TRIANGLE = 5, 7  # columns, with the class


@dataclass(frozen=True)
class Columns:
    """`boxed`: numbers of columns that begin with class and box; `polygons`: of the others, odd ones are polygons."""

    boxed: frozenset[int] = frozenset({BOX})
    polygons: bool = True

    def select(self, cells: Sequence[str]) -> Sequence[str]:
        """Of the cells behind the class, the four of the box or all points. Raises BoxError: neither."""
        columns = len(cells) + 1
        if columns in self.boxed:
            return cells[: BOX - 1]
        if self.polygons and columns >= TRIANGLE and columns % 2:
            return cells
        expected = " or ".join(map(str, sorted(self.boxed))) + (" or those of a polygon" if self.polygons else "")
        raise BoxError("malformed", f"{columns} columns, {expected} are expected; keypoints need kpt_shape")


def find_columns(file: Path, content: dict[Any, Any], lines: Iterable[tuple[Path, list[str]]]) -> Columns:
    """By `kpt_shape` and `task` of data.yaml (`file`), or else by what all lines of a length have in common.

    Raises InputError: another `kpt_shape` than two numbers; lines that can be a polygon or a box with something more.
    """
    task, shape = content.get("task"), content.get("kpt_shape")
    if shape is not None or task == "pose":
        if not (isinstance(shape, list) and [type(v) for v in shape] == [int, int] and shape[0] > 0 < shape[1]):
            raise InputError(f"{file}: kpt_shape is {str(shape)[:40]}: as in [17, 3] is expected")
        return Columns(frozenset({BOX, BOX + shape[0] * shape[1]}), polygons=False)
    if task in ("segment", "obb"):
        return Columns()
    count: Counter[int] = Counter()
    fitting: dict[int, set[str]] = {}
    first: dict[int, Path] = {}
    for path, fields in lines:
        try:
            readings = _find_readings(parse_finite(fields[1:]))
        except ValueError:
            continue  # told when the box is made
        count[len(fields)] += 1
        fitting[len(fields)] = fitting.get(len(fields), readings) & readings
        first.setdefault(len(fields), path)
    if sum(columns > TRIANGLE for columns in count) > 1:  # keypoints have one length
        return Columns()
    boxed = {BOX}
    for columns, readings in fitting.items():
        if readings == {"box"} and BOX not in fitting:  # confidence stands in all lines or in none
            boxed.add(columns)
        elif "keypoints" in readings or readings == {"box", "polygon"}:
            raise InputError(
                f"{first[columns]}: {count[columns]} lines of {columns} columns can be polygons, or boxes with "
                f"keypoints or a track: set kpt_shape or task: segment in {file.name}, or keep {BOX} columns of boxes"
            )
    return Columns(frozenset(boxed))


def _find_readings(numbers: Sequence[float]) -> set[str]:
    """What these numbers behind the class can be: `box` (with confidence and track id), `polygon`, `keypoints`."""
    columns = len(numbers) + 1
    has_confidence = columns > BOX and 0 <= numbers[BOX - 1] <= 1
    if columns <= TRIANGLE:
        has_track = columns < TRIANGLE or (numbers[-1].is_integer() and _is_inside(numbers))
        is_box = columns == BOX or (has_confidence and has_track)
        is_polygon = columns == TRIANGLE and all(-SLACK <= v <= 1 + SLACK for v in numbers)
        return {name for name, fits in (("box", is_box), ("polygon", is_polygon)) if fits}
    return {"keypoints"} if _has_keypoints(numbers) else set()


def _is_inside(numbers: Sequence[float]) -> bool:
    """Whether the first four numbers are a box that lies inside the picture."""
    x, y, w, h = numbers[:4]
    room = 3 * SLACK  # rounded numbers of a box along the border
    return min(x - w / 2, y - h / 2) >= -room and max(x + w / 2, y + h / 2) <= 1 + room


def _has_keypoints(numbers: Sequence[float]) -> bool:
    """Whether a box inside the picture comes first, then points with 0, 1 or 2 for their visibility, or inside it."""
    (x, y, w, h), rest = numbers[:4], numbers[4:]
    x0, y0, x1, y1 = x - w / 2 - SLACK, y - h / 2 - SLACK, x + w / 2 + SLACK, y + h / 2 + SLACK
    if not _is_inside(numbers):
        return False
    if len(rest) % 3 == 0 and all(visibility in (0, 1, 2) for visibility in rest[2::3]):
        return True
    xs, ys = numbers[0::2], numbers[1::2]
    if len(numbers) == 8 and all(abs(v[0] - v[1] + v[2] - v[3]) < 5 * SLACK for v in (xs, ys)):
        return False  # the corners of a turned box
    return len(rest) % 2 == 0 and all(x0 <= a <= x1 and y0 <= b <= y1 for a, b in zip(xs[2:], ys[2:], strict=True))
