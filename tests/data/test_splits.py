"""Splits: groups stay whole, sources do not touch each other, shares come near."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umed.boxes import Box
from umed.data.splits import assign_splits
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
