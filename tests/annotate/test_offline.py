"""Template diagnoses: grammatical, varied, with the side as radiology names it."""

import re
from dataclasses import replace

import pytest

from umed.annotate.offline import COUNTABLE, ORGANS, OfflineAnnotator, describe_finding, describe_place
from umed.boxes import Box
from umed.evaluation.rules.mentions import named
from umed.records import Record

CATEGORIES = (*ORGANS, "kidney stone", "infiltration", "mass", "active tuberculosis", "polyp", "ulcer")


def record(number: int, category: str = "polyp", modality: str = "CT", boxes: int = 1) -> Record:
    where = tuple(Box(0.1 * k, 0.1, 0.1 * k + 0.08, 0.3) for k in range(1, boxes + 1))
    return Record(f"s/{number}", "s", "a.png", 100, 100, where, category, modality, str(number))


@pytest.mark.parametrize(
    ("box", "radiology", "endoscopy"),
    [
        (Box(0.0, 0.0, 0.2, 0.2), "right upper part", "upper left"),
        (Box(0.8, 0.8, 1.0, 1.0), "left lower part", "lower right"),
        (Box(0.0, 0.4, 0.2, 0.6), "right part", "left"),
        (Box(0.4, 0.0, 0.6, 0.2), "upper part", "upper"),
        (Box(0.4, 0.4, 0.6, 0.6), "middle part", "center"),
    ],
)
def test_the_right_of_a_patient_is_on_the_left_of_the_film(box: Box, radiology: str, endoscopy: str) -> None:
    assert {describe_place(box, m) for m in ("CT", "MR", "X-ray")} == {radiology}
    assert describe_place(box, "Endoscopy") == endoscopy


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_finding_is_a_noun_phrase_that_names_the_category(category: str) -> None:
    phrase = describe_finding(category)
    assert named(f"This indicates {phrase}.", CATEGORIES) == {category}
    assert phrase.startswith(("a ", "an ")) == (category in ORGANS or category.split()[-1] in COUNTABLE)
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", phrase)


def test_texts_vary_by_record_and_are_the_same_for_the_same_record() -> None:
    records = [record(i, boxes=1 + i % 3) for i in range(60)]
    texts = [(r.query, r.diagnosis) for r in OfflineAnnotator(seed=3).annotate(records)]
    assert texts == [(r.query, r.diagnosis) for r in OfflineAnnotator(seed=3).annotate(reversed(records))][::-1]
    assert texts != [(r.query, r.diagnosis) for r in OfflineAnnotator(seed=4).annotate(records)]
    assert len({t for _, t in texts}) > 20 and len({q for q, _ in texts}) == 4


def test_every_text_is_three_sentences_in_the_order_of_the_reflection() -> None:
    for i in range(40):
        r = OfflineAnnotator().describe(record(i, "mass", "X-ray", boxes=1 + i % 9))
        detect, localize, recognize = re.findall(r"[A-Z][^.]*\.", r.diagnosis)
        assert "bnormal" in detect and "<region>" in localize and "mass" in recognize
        assert r.diagnosis.count("<region>") == 1 and "  " not in r.diagnosis
        assert r.provenance["annotator"] == "offline"


def test_a_mirrored_lesion_gets_the_other_side() -> None:
    r = replace(record(1), boxes=(Box(0.1, 0.1, 0.2, 0.2),))
    other = replace(r, boxes=(Box(0.8, 0.1, 0.9, 0.2),))
    here, there = (OfflineAnnotator().describe(x).diagnosis for x in (r, other))
    assert here != there and here.replace("right", "left") == there
