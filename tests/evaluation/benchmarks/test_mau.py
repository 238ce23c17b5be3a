"""MAU's records as questions, normal pictures among them."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import make_record
from umed.errors import InputError
from umed.evaluation.benchmarks.mau import MauBenchmark, question_of
from umed.records import Record, RecordSet

ROOTS = {"synthetic": Path(), "other": Path()}


def records() -> list[Record]:
    made = [replace(make_record(k, 40, 30), split=split) for k, split in enumerate(["train", "test", "test", "val"])]
    return [*made, replace(made[1], id="other/1", source="other")]


def test_a_record_is_asked_with_all_that_its_answer_is_judged_by() -> None:
    [first, second, third] = MauBenchmark(RecordSet(records(), ROOTS)).questions()
    record = records()[1]
    assert first == question_of(record, ["stone", "cyst", "lung nodule"])  # of all splits
    assert (first.id, first.dataset, first.split_file) == (record.id, "mau", "records.jsonl")
    assert (first.question, first.answer, first.answer_type) == (record.query, "A cyst is seen at.", "diagnosis")
    assert (first.gold_boxes, first.width, first.height) == (((10, 7.5, 30, 15),), 40, 30)
    assert first.categories == second.categories == ("cyst", "lung nodule", "stone") and third.categories == ("cyst",)
    assert MauBenchmark(RecordSet(records(), ROOTS), "val").questions()[0].id == records()[3].id
    with pytest.raises(InputError, match="no record has split=holdout"):
        MauBenchmark(RecordSet(records(), ROOTS), "holdout")


def test_normal_pictures_are_asked_as_the_abnormal_ones_of_their_source() -> None:
    normal = replace(make_record(0, 40, 30), boxes=(), category="normal", diagnosis="", query="")
    sources = ("synthetic", "other_controls", "unknown", "synthetic", "synthetic")
    controls = [replace(normal, id=f"normal/{k}", source=s, split="test") for k, s in enumerate(sources)]
    controls.append(replace(normal, id="normal/9", split="train"))
    asked = MauBenchmark(RecordSet(records(), ROOTS), controls=controls).controls()
    assert [q.id for q in asked] == ["normal/0", "normal/1", "normal/3", "normal/4"]
    assert [q.part for q in asked] == ["synthetic", "other", "synthetic", "synthetic"]
    assert {q.dataset for q in asked} == {"mau_controls"} and all(q.gold_boxes == () for q in asked)
    queries = list(dict.fromkeys(r.query for r in records()))
    assert {q.question for q in asked} == set(queries)  # they take turns
    assert asked[0].categories == ("cyst", "lung nodule", "stone") and asked[1].categories == ("cyst",)


def test_a_question_knows_what_is_also_gold_for_its_picture() -> None:
    """Whatever part of the questions is asked; another split's or another picture's finding is none of it."""
    one, other, elsewhere = make_record(0, 20, 20), make_record(1, 20, 20), make_record(2, 20, 20)
    records = [replace(r, image="a.png", split="test") for r in (one, other)] + [replace(elsewhere, split="test")]
    first, second, third = MauBenchmark(RecordSet(records, {})).questions()
    assert (first.also_gold, second.also_gold, third.also_gold) == ((other.category,), (one.category,), ())
