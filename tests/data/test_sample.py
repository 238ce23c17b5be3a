"""Sub-samples and quotas."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umed.boxes import Box
from umed.data.sample import choose_queries, share_quotas, subsample
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


def test_queries_are_the_annotated_records_or_the_others_undescribed() -> None:
    described = [
        replace(r, diagnosis="A mass.", split="train" if k % 4 else "val") for k, r in enumerate(records(a=40))
    ]
    normal = replace(described[1], id="n", boxes=(), category="normal")
    kept = choose_queries([*described, normal], 0.25, 0, "annotated")
    others = choose_queries([*described, normal], 0.25, 0, "boxes_only")
    train = {kind: {r.id for r in of if r.split == "train" and r.boxes} for kind, of in (("a", kept), ("b", others))}
    assert not train["a"] & train["b"] and len(train["a"] | train["b"]) == 30
    assert all(r.diagnosis == "" for r in others if r.id in train["b"])
    assert all(r.diagnosis for r in others if r.split == "val" or not r.boxes), "as they are"
    assert normal in kept and normal in others
    with pytest.raises(InputError, match="data.fraction=1.0 leaves no train record out"):
        choose_queries(described, 1.0, 0, "boxes_only")
