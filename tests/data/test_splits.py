"""Splits and shares of them: groups stay whole, sources do not touch each other, shares come near."""

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umed.boxes import Box
from umed.data.sample import keep_train_share
from umed.data.splits import apply_unseen, assign_splits, explain_empty_splits
from umed.dicom import hash_patient
from umed.errors import InputError
from umed.records import Record

FRACTIONS = (0.7, 0.1, 0.2)


def records(sizes: list[int], source: str = "s") -> list[Record]:
    return [
        Record(f"{source}/{g}/{i}", source, "x.png", 9, 9, (Box(0, 0, 1, 1),), "c", "CT", group=f"g{g}")
        for g, size in enumerate(sizes)
        for i in range(size)
    ]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(0, 5))
def test_groups_stay_whole_and_no_split_is_empty(sizes: list[int], seed: int) -> None:
    split = assign_splits(records(sizes), FRACTIONS, seed)
    assert [r.id for r in split] == [r.id for r in records(sizes)]
    assert all(len({r.split for r in split if r.group == g}) == 1 for g in {r.group for r in split})
    assert {r.split for r in split} <= {"train", "val", "test"}
    if len(sizes) >= 3:
        assert {r.split for r in split} == {"train", "val", "test"}


@settings(max_examples=40)
@given(st.lists(st.integers(1, 3), min_size=60, max_size=90), st.integers(0, 5))
def test_shares_come_as_near_as_groups_allow(sizes: list[int], seed: int) -> None:
    split = Counter(r.split for r in assign_splits(records(sizes), FRACTIONS, seed))
    for name, share in zip(("train", "val", "test"), FRACTIONS, strict=True):
        assert abs(split[name] - share * sum(sizes)) <= 3


def test_another_source_changes_nothing() -> None:
    mine, other = records([2] * 20), records([1, 3] * 10, source="other")
    alone = assign_splits(mine, FRACTIONS, 0)
    both = assign_splits([*other, *mine], FRACTIONS, 0)
    assert [r for r in both if r.source == "s"] == alone
    assert [r.split for r in both if r.source == "other"] != [r.split for r in alone]


def test_the_seed_decides_and_the_order_of_records_does_not() -> None:
    mine = records([1] * 30)
    by_id = {r.id: r.split for r in assign_splits(mine, FRACTIONS, 0)}
    assert by_id == {r.id: r.split for r in assign_splits(mine[::-1], FRACTIONS, 0)}
    assert by_id != {r.id: r.split for r in assign_splits(mine, FRACTIONS, 1)}


def test_the_hash_is_the_same_in_every_process() -> None:
    assert "".join(r.split[1] for r in assign_splits(records([1] * 10), FRACTIONS, 0)) == "rerarrrrre"


def test_a_share_of_zero_is_empty() -> None:
    assert Counter(r.split for r in assign_splits(records([1] * 10), (0.5, 0, 0.5), 0)) == {"train": 5, "test": 5}
    assert {r.split for r in assign_splits(records([1] * 4), (0, 0, 1), 0)} == {"test"}


@pytest.mark.parametrize("wrong", [(0.7, 0.3), (0.7, 0.1, 0.3), (1.2, -0.4, 0.2), (0.25, 0.25, 0.25, 0.25)])
def test_fractions_must_be_three_shares(wrong: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="fractions"):
        assign_splits(records([1]), wrong, 0)


SOURCES = {"a": "CT", "b": "CT", "c": "X-ray", "d": "MR"}
CATEGORIES = ("cyst", "mass", "stone")


@st.composite
def drawn(draw: Any) -> list[Record]:
    """Up to four sources of groups whose records have any of three categories."""
    found = []
    for source, modality in SOURCES.items():
        groups = draw(st.lists(st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=4), max_size=12))
        found += [
            Record(f"{source}/{g}/{i}", source, "x.png", 9, 9, (Box(0, 0, 1, 1),), category, modality, f"g{g}")
            for g, group in enumerate(groups)
            for i, category in enumerate(group)
        ]
    return found


UNSEEN = st.fixed_dictionaries(
    {},
    optional={
        "source": st.lists(st.sampled_from(sorted(SOURCES)), min_size=1, max_size=2),
        "modality": st.lists(st.sampled_from(("CT", "X-ray", "MR")), min_size=1, max_size=2),
        "category": st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=2),
    },
)


@settings(max_examples=60)
@given(drawn(), UNSEEN, st.integers(0, 3), st.randoms(), st.sets(st.sampled_from(sorted(SOURCES))))
def test_no_group_crosses_and_nothing_else_matters(
    every: list[Record], unseen: dict[str, list[str]], seed: int, order: Any, subset: set[str]
) -> None:
    try:
        split = assign_splits(every, FRACTIONS, seed, unseen)
    except InputError:
        there = all(v in {getattr(r, f) for r in every} for f, values in unseen.items() for v in values)
        matched = [r for r in every if all(getattr(r, f) in values for f, values in unseen.items())]
        seen_groups = {(r.source, r.group) for r in every} - {(r.source, r.group) for r in matched}
        plain = assign_splits(every, FRACTIONS, seed)
        trains = [r for r in plain if r.split == "train" and (r.source, r.group) in seen_groups]
        assert not there or not matched or not trains
        return
    groups = {(r.source, r.group) for r in split}
    assert all(len({r.split for r in split if (r.source, r.group) == g}) == 1 for g in groups)
    plain = {r.id: r for r in assign_splits(every, FRACTIONS, seed)}
    if not unseen:
        assert split == list(plain.values())
        return
    is_unseen = {r.id: all(getattr(r, f) in values for f, values in unseen.items()) for r in every}
    touched = {(r.source, r.group) for r in every if is_unseen[r.id]}
    assert {r.id for r in split if r.split == "test"} == {id for id, unseen_one in is_unseen.items() if unseen_one}
    wanted = [r for r in plain.values() if (r.source, r.group) not in touched and r.split != "test"]
    assert [r for r in split if r.split != "test"] == wanted  # the same splits as without `unseen`
    shuffled = order.sample(every, len(every))
    assert {r.id: r.split for r in assign_splits(shuffled, FRACTIONS, seed, unseen)} == {r.id: r.split for r in split}
    fewer = [r for r in every if r.source in subset]
    try:
        alone = assign_splits(fewer, FRACTIONS, seed, unseen)
    except InputError:  # what is unseen, or all there is to train on, is in the other sources
        return
    assert alone == [r for r in split if r.source in subset]


def test_unseen_records_are_the_test_split() -> None:
    mine = [replace(r, category="mass" if r.id.endswith("/1") else "cyst") for r in records([2] * 10 + [1] * 10)]
    split = assign_splits(mine, (0.5, 0.2, 0.3), 0, {"category": ["mass"], "source": "s"})
    assert [r.id for r in split if r.split == "test"] == [f"s/{g}/1" for g in range(10)]
    rest = {r.id for r in split if r.split != "test"}
    assert rest and rest < {f"s/{g}/0" for g in range(10, 20)}  # none of the ten groups, none of the tested
    before = {r.id: r.split for r in assign_splits(mine, (0.5, 0.2, 0.3), 0)}
    assert {r.id: r.split for r in split if r.id in rest} == {i: before[i] for i in rest}


@pytest.mark.parametrize(
    ("unseen", "told"),
    [
        ({"source": ["s", "t"]}, "data.split.unseen.source names t, which no record has: choose of other, s"),
        ({"modality": "MR"}, "modality names MR, which no record has: choose of CT, X-ray"),
        ({"patient": ["g1"]}, "data.split.unseen=patient: choose source, category or modality"),
        ({"source": ["s"], "modality": ["X-ray"]}, r"no record has source in \['s'\], modality in \['X-ray'\] at once"),
        ({"category": ["c"]}, "leaves no record to train on"),
    ],
)
def test_what_cannot_be_unseen_is_told(unseen: dict[str, Any], told: str) -> None:
    both = [*records([1] * 5), *(replace(r, modality="X-ray") for r in records([1] * 5, source="other"))]
    with pytest.raises(InputError, match=told):
        assign_splits(both, FRACTIONS, 0, unseen)


def test_a_source_keeps_its_own_splits() -> None:
    word = {"g0": "train", "g1": "val"}
    own = [replace(r, split=word.get(r.group, "test")) for r in records([2] * 6, source="own")]
    mine = records([1] * 20)
    split = assign_splits([*own, *mine], FRACTIONS, 0)
    assert split[:12] == own and split[12:] == assign_splits(mine, FRACTIONS, 0)
    unseen = assign_splits([*own, *mine], FRACTIONS, 0, {"source": ["s"]})
    assert unseen == [*own[:4], *(replace(r, split="test") for r in mine)]


def test_own_splits_must_be_complete_and_keep_groups_whole() -> None:
    own = [replace(r, split="train") for r in records([2, 2])]
    with pytest.raises(InputError, match="source s: group g1 is in train and, with s/1/1, in test"):
        assign_splits([*own[:3], replace(own[3], split="test")], FRACTIONS, 0)
    with pytest.raises(InputError, match="source s: s/0/1 has no split, others have one"):
        assign_splits([own[0], replace(own[1], split=""), *own[2:]], FRACTIONS, 0)
    with pytest.raises(InputError, match="source s: s/0/0 has split=dev"):
        assign_splits([replace(own[0], split="dev"), *own[1:]], FRACTIONS, 0)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(0, 5))
def test_a_share_is_part_of_every_larger_one(sizes: list[int], seed: int) -> None:
    split = assign_splits([*records(sizes), *records([1] * 12, source="other")], FRACTIONS, seed)
    shares = [keep_train_share(split, f, seed) for f in (0.01, 0.1, 0.25, 0.6, 1)]
    ids = [{r.id for r in share} for share in shares]
    assert all(a <= b for a, b in pairwise(ids)) and shares[-1] == split
    for share in shares:
        assert [r for r in share if r.split != "train"] == [r for r in split if r.split != "train"]
        kept = {(r.source, r.group) for r in share if r.split == "train"}
        assert [r for r in split if (r.source, r.group) in kept] == [r for r in share if r.split == "train"]
        assert {source for source, _ in kept} == {r.source for r in split if r.split == "train"}
    largest = max(sizes)
    for share, fraction in zip(shares, (0.01, 0.1, 0.25, 0.6, 1), strict=True):
        had, has = (sum(r.split == "train" and r.source == "s" for r in of) for of in (split, share))
        assert abs(has - fraction * had) <= largest


def test_another_source_does_not_change_a_share() -> None:
    mine = assign_splits(records([2] * 20), FRACTIONS, 0)
    other = assign_splits(records([1, 3] * 10, source="other"), FRACTIONS, 0)
    assert [r for r in keep_train_share([*other, *mine], 0.3, 0) if r.source == "s"] == keep_train_share(mine, 0.3, 0)
    assert (
        keep_train_share(mine[::-1], 0.3, 0)
        == keep_train_share(mine, 0.3, 0)[::-1]
        != keep_train_share(mine, 0.3, 1)[::-1]
    )
    for wrong in (0, -1, 1.1, "half", float("nan")):
        with pytest.raises(InputError, match="data.fraction="):
            keep_train_share(mine, wrong, 0)


def test_a_data_set_that_is_not_there_means_its_stand_in() -> None:
    drawn = [*records([1] * 9, "phantom_s"), *records([1] * 9, "phantom_t")]
    split = assign_splits(drawn, FRACTIONS, 0, {"source": ["s"]})
    assert split == assign_splits(drawn, FRACTIONS, 0, {"source": ["phantom_s"]})
    assert {r.source for r in split if r.split == "test"} == {"phantom_s"}


def test_nothing_unseen_changes_nothing() -> None:
    divided = assign_splits(records([1, 2] * 10), FRACTIONS, 0)
    for nothing in ({}, {"source": [], "category": None}):
        assert assign_splits(records([1, 2] * 10), FRACTIONS, 0, nothing) == divided
        assert apply_unseen(divided, nothing) == divided


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), min_size=1, max_size=12), st.integers(0, 3))
def test_linked_groups_share_the_split_of_the_first_source(pairs: list[tuple[int, int]], seed: int) -> None:
    a, b = records([1] * 30, "a"), records([1] * 30, "b")
    links = [(("a", f"g{i}"), ("b", f"g{j}")) for i, j in pairs]
    alone = {(r.source, r.group): r.split for r in assign_splits([*a, *b], FRACTIONS, seed)}
    linked = {(r.source, r.group): r.split for r in assign_splits([*a, *b], FRACTIONS, seed, links=links)}
    assert all(linked[x] == linked[y] for x, y in links)
    touched = {group for link in links for group in link}
    assert all(linked[group] == alone[group] for group in linked.keys() - touched)
    once = Counter(y for _, y in set(links))
    if max(once.values()) == 1:  # no group of b ties two of a together
        assert all(linked["a", f"g{i}"] == alone["a", f"g{i}"] for i in range(30))
    unseen = assign_splits([*a, *b], FRACTIONS, seed, {"source": ["b"]}, links)
    assert not [r for r in unseen if r.source == "a" and ("a", r.group) in touched]


def explain(groups: list[str], own: bool = False, fractions: tuple[float, ...] = FRACTIONS) -> list[str]:
    pictures = [
        replace(r, image=f"{k}.png", group=g) for k, (r, g) in enumerate(zip(records([1] * 99), groups, strict=False))
    ]
    splits = {"splits": [replace(r, split="train") for r in pictures]} if own else {}
    split = splits.get("splits") or assign_splits(pictures, fractions, 0)
    return list(explain_empty_splits(split, fractions, {"s"} if own else ()))


def test_a_split_that_groups_leave_empty_is_told() -> None:
    """Whatever anonymization has written as PatientID; its digest is all that a group holds."""
    one, other = hash_patient("ANON"), hash_patient("0000")
    for groups, lost, why in (
        ([one] * 6, "val and test", r"6 of 6 pictures share one PatientID \(first 0\.png\)"),
        ([one, *[other] * 3], "val", r"3 of 4 pictures share one PatientID \(first 1\.png\)"),
        (["a"] * 5, "val and test", "5 of 5 pictures are in the largest group"),
        (["a"], "val and test", "1 of 1"),
    ):
        [line] = explain(groups)
        assert (
            re.search(rf"^s: no record is left for .*{lost.split()[-1]} since {why}", line) and "group_regex" in line
        ), line
        assert "patient-" not in line
    [line] = explain([one] * 8 + ["a", "b", "c"])
    assert "no record" not in line and "8 of 11 pictures share one PatientID" in line
    assert not explain(["a", "b", "c"]) and not explain([one, other, "c"]) and not explain(["a"], fractions=(1, 0, 0))
    assert explain(["a", "b", "c"], own=True) == ["s: no record is left for val and test by its own splits"]
