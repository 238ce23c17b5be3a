"""What the embedded base model is taught, and what it is never told."""

from dataclasses import replace

import pytest

from umed.boxes import Box
from umed.data.controls import DIAGNOSIS
from umed.evaluation.protocol import Protocol
from umed.records import NORMAL, Record
from umed.synthetic.generalist import PLACE, GeneralistAnnotator

PROTOCOL = Protocol(
    name="p",
    open="open {question}",
    closed="closed {question}",
    choice="choice A {a} B {b} C {c} D {d}",
    blank="blank {question}",
    label="label {labels}",
    choice_answer="{letter}",
    label_answer="{label}",
)


def record(number: int) -> Record:
    x = 0.05 + 0.01 * number
    box = (Box(x, 0.3, x + 0.25, 0.95),)
    return Record(f"s/{number}", "s", f"{number // 2}.png", 100, 80, box, f"finding {number}", "CT", f"g{number}")


RECORDS = [record(i) for i in range(40)]  # two findings a picture
NORMALS = [replace(r, id=f"n/{k}", image=f"n{k}.png", boxes=(), category=NORMAL) for k, r in enumerate(RECORDS)]


def annotate(records: list[Record], **kinds: float) -> list[Record]:
    return GeneralistAnnotator(kinds, PROTOCOL).annotate(records)


def test_places_are_fifths_and_hold_no_number() -> None:
    for text in (r.diagnosis for r in annotate(RECORDS, place=1)):
        assert not any(c.isdigit() for c in text) and "<region>" not in text
    (one,) = annotate([replace(RECORDS[0], boxes=(Box(0.0, 0.41, 0.5, 1.0),))], place=1)
    assert one.query in PLACE
    assert one.diagnosis == "middle to bottom, far left to center, large."


def test_diagnoses_are_of_another_picture() -> None:
    said = annotate(RECORDS, diagnosis=1)
    assert all("<region>" in r.diagnosis and r.category in r.diagnosis for r in said)
    own = sum(s.category == r.category or s.boxes == r.boxes for s, r in zip(said, RECORDS, strict=True))
    assert own <= 4  # by chance


def test_only_what_is_not_shown_is_denied_and_offered() -> None:
    answers = set()
    for r, said in zip(RECORDS, annotate(RECORDS, whether=1), strict=True):
        shown = {s.category for s in RECORDS if s.image == r.image}
        asked = said.query.removeprefix("closed Does the image show ").removesuffix("?")
        assert (asked in shown) == (said.diagnosis == "Yes")
        answers.add(said.diagnosis)
    assert answers == {"Yes", "No"}
    for r, said in zip(RECORDS, annotate(RECORDS, choice=1), strict=True):
        shown = {s.category for s in RECORDS if s.image == r.image}
        offered = said.query.split(" finding ")[1:]
        texts = [f"finding {o.split()[0]}" for o in offered]
        assert texts["ABCD".index(said.diagnosis)] == r.category and len(shown & set(texts)) == 1


def test_normal_pictures_are_called_normal_and_show_nothing() -> None:
    said = [r for r in annotate([*RECORDS, *NORMALS], place=1) if not r.boxes]
    assert {r.diagnosis for r in said} == {DIAGNOSIS, "No"}
    for r in said:
        assert r.query.startswith("closed Does") == (r.diagnosis == "No")


def test_label_pictures_are_asked_for_their_label() -> None:
    derma = replace(RECORDS[0], id="m/0", source="medmnist_breast", category="malignant")
    *_, said = annotate([*RECORDS, derma], place=1)
    assert (said.query, said.diagnosis) == ("label malignant, normal, benign", "malignant")


@pytest.mark.parametrize("kinds", [{"modality": 1}, {"modality": 1, "finding": 2, "choice": 1, "place": 7}])
def test_the_same_seed_gives_the_same_texts(kinds: dict[str, float]) -> None:
    first, second, other = (GeneralistAnnotator(kinds, PROTOCOL, seed).annotate(RECORDS) for seed in (0, 0, 1))
    assert first == second and any(r.diagnosis == "CT" for r in first)
    assert first != other or len(kinds) == 1
