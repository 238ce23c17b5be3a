"""Tiny SYNTHETIC data sets in the on-disk format of each source, every trap in them: `Source.example` writes one."""

from dataclasses import dataclass, field

Corners = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Example:
    """What reading a written example must give.

    `records`: id (with the source's own name) -> boxes as xyxy in pixels of the stored picture; `dropped`: reason ->
    number of lines; `controls`: number of records without boxes, which are not in `records`.
    """

    records: dict[str, list[Corners]]
    dropped: dict[str, int] = field(default_factory=dict)
    controls: int = 0
