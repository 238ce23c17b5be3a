"""What the embedded base model is taught, and what it is never told."""

from dataclasses import replace

import pytest

from umed.annotate.coarse import PLACE, CoarseAnnotator
from umed.boxes import Box
from umed.records import Record


def record(number: int) -> Record:
    x = 0.05 + 0.01 * number
    box = (Box(x, 0.3, x + 0.25, 0.95),)
    return Record(f"s/{number}", "s", f"{number}.png", 100, 80, box, f"finding {number}", "CT", f"g{number}")


RECORDS = [record(i) for i in range(40)]


def test_places_are_fifths_and_hold_no_number() -> None:
    for text in (r.diagnosis for r in CoarseAnnotator(kinds=(0, 1, 0)).annotate(RECORDS)):
        assert not any(c.isdigit() for c in text) and "<region>" not in text
    (one,) = CoarseAnnotator(kinds=(0, 1, 0)).annotate([replace(RECORDS[0], boxes=(Box(0.0, 0.41, 0.5, 1.0),))])
    assert one.query in PLACE
    assert one.diagnosis == "middle to bottom, far left to center, large."


def test_diagnoses_are_of_another_picture() -> None:
    said = CoarseAnnotator(kinds=(0, 0, 1)).annotate(RECORDS)
    assert all("<region>" in r.diagnosis and r.category in r.diagnosis for r in said)
    own = sum(s.category == r.category or s.boxes == r.boxes for s, r in zip(said, RECORDS, strict=True))
    assert own <= 4  # by chance


@pytest.mark.parametrize("kinds", [(1, 0, 0), (1, 7, 3)])
def test_the_same_seed_gives_the_same_texts(kinds: tuple[float, ...]) -> None:
    first, second, other = (CoarseAnnotator(seed, kinds).annotate(RECORDS) for seed in (0, 0, 1))
    assert first == second != other
    assert any(r.diagnosis == "This is a CT image." for r in first)
