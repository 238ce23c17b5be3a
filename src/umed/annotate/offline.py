"""Diagnoses from templates, without network, in the order detection, localization, recognition."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from umed.annotate.base import make_random
from umed.boxes import Box, union_area
from umed.chat import REGION
from umed.records import Record, add_text

QUERIES = (
    "Is there an abnormality in this {modality} image?",
    "Find and name the abnormality in this {modality} image.",
    "What is abnormal here, and where is it?",
    "Describe the abnormal finding in this picture.",
)
DETECT = ("There is an abnormality.", "The image is abnormal.", "An abnormal area is seen.")
# the region comes first, so that it is read from the picture and not from the words for its place
LOCALIZE = ("It is {size}: {region}, in the {place}.", "A {size} region is affected: {region}, in the {place}.")
LOCALIZE_MANY = (
    "{count} regions are affected: {region}, the largest in the {place}.",
    "It is seen in {count} regions: {region}, mainly in the {place}.",
)
RECOGNIZE = ("This indicates {finding}.", "The finding is {finding}.", "Diagnosis: {finding}.")
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RADIOLOGY = ("CT", "MR", "X-ray")  # the patient's right is on the picture's left
ORGANS = ("bone", "abdomen", "mediastinum", "liver", "lung", "kidney", "soft tissue", "pelvis")  # DeepLesion's types
COUNTABLE = ("mass", "nodule", "polyp", "stone", "lesion", "tumor", "cyst", "fracture", "ulcer", "pneumothorax")


def describe_place(box: Box, modality: str) -> str:
    """Where the center lies: of the patient in radiology ("right lower part"), else of the picture ("upper left")."""
    x, y = box.center
    row = "upper" if y < 0.4 else "lower" if y > 0.6 else ""
    column = "left" if x < 0.4 else "right" if x > 0.6 else ""
    if modality in RADIOLOGY:
        side = {"left": "right", "right": "left"}.get(column, "")
        return " ".join(w for w in (side, row or ("" if side else "middle"), "part") if w)
    return " ".join(w for w in (row, column) if w) or "center"


def describe_finding(category: str) -> str:
    """The category as a noun phrase."""
    if category in ORGANS:
        return f"a lesion of the {category}"
    if category.rsplit(" ", 1)[-1] in COUNTABLE:
        return f"{'an' if category[0] in 'aeiou' else 'a'} {category}"
    return category


def describe_size(boxes: Sequence[Box]) -> str:
    """Words for the share of the picture that the boxes cover."""
    share = union_area(boxes)
    return "small" if share < 0.02 else "medium" if share < 0.1 else "large"


class OfflineAnnotator:
    """Fills templates with category, modality, position and size; the same record gets the same text."""

    name = "offline"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def annotate(self, records: Iterable[Record], roots: Mapping[str, Path] | None = None) -> list[Record]:
        return [self.describe(r) for r in records]

    def describe(self, record: Record) -> Record:
        pick = make_random(record, self.seed)
        largest = max(record.boxes, key=lambda b: b.area)
        count = len(record.boxes)
        where = pick.choice(LOCALIZE if count == 1 else LOCALIZE_MANY).format(
            size=describe_size(record.boxes),
            place=describe_place(largest, record.modality),
            count=COUNTS[count] if count < len(COUNTS) else str(count),
            region=REGION,
        )
        query = pick.choice(QUERIES).format(modality=record.modality)
        parts = (
            pick.choice(DETECT),
            where[0].upper() + where[1:],
            pick.choice(RECOGNIZE).format(finding=describe_finding(record.category)),
        )
        return add_text(record, query, " ".join(parts), annotator=self.name, annotator_seed=self.seed)
