"""Sub-samples and quotas."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umed.boxes import Box
from umed.data.sample import share_quotas, subsample
from umed.errors import InputError
from umed.records import Record


def records(**sizes: int) -> list[Record]:
    box = (Box(0.1, 0.1, 0.2, 0.2),)
    return [
        Record(f"{source}/{i}", source, f"{i}.png", 10, 10, box, f"{source}{i % 2}", "CT", str(i))
        for source, size in sizes.items()
        for i in range(size)
    ]


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 50), min_size=1), st.data())
def test_quotas_give_the_total_and_are_as_equal_as_the_sizes_allow(sizes: dict[str, int], data: st.DataObject) -> None:
    total = data.draw(st.integers(1, sum(sizes.values())))
    given_ = share_quotas(Counter(sizes), total)
    assert given_.total() == total
    assert all(0 <= given_[name] <= size for name, size in sizes.items())
    short = [name for name, size in sizes.items() if given_[name] < size]
    assert all(given_[a] >= max(given_.values()) - 1 for a in short)


def test_balanced_by_source_takes_all_of_a_small_one() -> None:
    chosen = subsample(records(a=100, b=10, c=100), 90, "source", 0)
    assert Counter(r.source for r in chosen) == {"a": 40, "b": 10, "c": 40}


def test_balanced_by_category() -> None:
    chosen = subsample(records(a=100, b=10), 45, "category", 0)
    assert Counter(r.category for r in chosen) == {"a0": 17, "a1": 18, "b0": 5, "b1": 5}


def test_natural_keeps_the_shares_and_the_order_and_depends_on_the_seed() -> None:
    all_of = records(a=3000, b=1000)
    chosen = subsample(all_of, 1000, "natural", 0)
    assert len(chosen) == 1000 and 200 < sum(r.source == "b" for r in chosen) < 300
    ids = {r.id for r in chosen}
    assert chosen == [r for r in all_of if r.id in ids] == subsample(all_of, 1000, "natural", 0)
    assert chosen != subsample(all_of, 1000, "natural", 1)


def test_a_smaller_sample_lies_within_a_larger_one() -> None:
    all_of = records(a=50, b=50)
    assert {r.id for r in subsample(all_of, 10, "natural", 0)} < {r.id for r in subsample(all_of, 30, "natural", 0)}


def test_none_is_all_and_more_than_all_is_refused() -> None:
    all_of = records(a=5)
    assert subsample(all_of, None, "natural", 0) == all_of
    for total in (0, 6):
        with pytest.raises(InputError, match="there are 5 records"):
            subsample(all_of, total, "natural", 0)
    with pytest.raises(InputError, match="natural, source or category"):
        subsample(all_of, 3, "patient", 0)
