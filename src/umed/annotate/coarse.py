"""Texts that pretrain the embedded base model: the language of diagnoses and coarse vision, but no localization.

Three kinds of answers: the modality, the coarse place of the abnormality, and complete diagnoses whose region and
category belong to ANOTHER picture, so that the model learns their wording but not their content.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from umed.annotate.base import make_random
from umed.annotate.offline import OfflineAnnotator, describe_size
from umed.records import Record, add_text

MODALITY = ("What kind of image is this?", "Which modality is shown?")
PLACE = ("In which part of the picture is something abnormal?", "Where should one look?")
ROWS = ("top", "upper", "middle", "lower", "bottom")  # fifths of the picture
COLUMNS = ("far left", "left", "center", "right", "far right")


class CoarseAnnotator:
    """Texts for `experiment=pretrain_tiny`. `kinds`: weights of the kinds: modality, place, shuffled diagnosis."""

    name = "coarse"

    def __init__(self, seed: int = 0, kinds: Sequence[float] = (1, 7, 3)) -> None:
        self.seed, self.kinds = seed, kinds

    def annotate(self, records: Iterable[Record], roots: Mapping[str, Path] | None = None) -> list[Record]:
        records = list(records)
        diagnoses = OfflineAnnotator(self.seed)
        return [self._one(r, records, diagnoses) for r in records]

    def _one(self, record: Record, records: Sequence[Record], diagnoses: OfflineAnnotator) -> Record:
        pick = make_random(record, self.seed + 1)
        kind = pick.choices(("modality", "place", "shuffled"), self.kinds)[0]
        largest = max(record.boxes, key=lambda b: b.area)
        if kind == "modality":
            return add_text(record, pick.choice(MODALITY), f"This is a {record.modality} image.", annotator=self.name)
        if kind == "place":
            rows, columns = _fifths(largest.y0, largest.y1, ROWS), _fifths(largest.x0, largest.x1, COLUMNS)
            text = f"{rows}, {columns}, {describe_size(record.boxes)}."
            return add_text(record, pick.choice(PLACE), text, annotator=self.name)
        other = diagnoses.describe(pick.choice(records))
        query = diagnoses.describe(record).query
        # boxes and category follow the text, which is the other record's
        shuffled = replace(record, boxes=other.boxes, category=other.category)
        return add_text(shuffled, query, other.diagnosis, annotator=self.name, said_of=other.id)


def _fifths(low: float, high: float, names: Sequence[str]) -> str:
    """The fifths that an interval within [0, 1] begins and ends in."""
    return f"{names[min(int(low * 5), 4)]} to {names[min(int(high * 5), 4)]}"
