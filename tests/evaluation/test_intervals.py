"""Bootstrap over pictures against a plain loop, and McNemar's exact test against tossed coins."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from umed.evaluation.intervals import bootstrap_intervals, mcnemar


def plain(values: np.ndarray, groups: list[str], draws: int, seed: int) -> tuple[float, float]:
    """The same draws, picture by picture."""
    names = sorted(set(groups))
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(draws):
        drawn = [values[[g == names[k] for g in groups]] for k in rng.integers(len(names), size=len(names))]
        known = np.concatenate(drawn)
        known = known[~np.isnan(known)]
        means.append(known.mean() if len(known) else np.nan)
    return tuple(np.nanquantile(means, [0.025, 0.975]))


def test_whole_pictures_are_drawn() -> None:
    rng = np.random.default_rng(0)
    groups = [f"picture {k}" for k in rng.integers(0, 9, 40)]
    values = rng.random((40, 3))
    values[rng.random((40, 3)) < 0.3] = np.nan
    found = bootstrap_intervals(values, groups, draws=300, seed=4)
    for r in range(3):
        assert found[r] == pytest.approx(plain(values[:, r], groups, 300, 4))


def test_items_of_one_picture_are_no_news() -> None:
    values = np.tile([0.0, 1.0], 50)
    [alone] = bootstrap_intervals(values[:, None], [str(k) for k in range(100)])
    [pairs] = bootstrap_intervals(np.repeat([0.0, 1.0], 50)[:, None], [str(k // 25) for k in range(100)])
    assert tuple(pairs) == (0, 1) and 0.35 < alone[0] < alone[1] < 0.65
    assert np.isnan(bootstrap_intervals(np.array([[1.0], [0.0]]), ["same", "same"])).all()
    assert np.isnan(bootstrap_intervals(np.empty((0, 1)), [])).all()


VALUES = hnp.arrays(
    float, st.tuples(st.integers(1, 9), st.integers(1, 3)), elements=st.sampled_from([0, 0.25, 0.7, 1, np.nan])
)


@settings(max_examples=50)
@given(VALUES, st.data())
def test_an_interval_does_not_depend_on_names_order_or_company(values: np.ndarray, data: st.DataObject) -> None:
    """Other names in the same order, another order of the items and other columns change nothing."""
    groups = [f"g{k:02}" for k in data.draw(st.lists(st.integers(0, 4), min_size=len(values), max_size=len(values)))]
    found = bootstrap_intervals(values, groups, draws=40)
    assert found.shape == (values.shape[1], 2)
    order = data.draw(st.permutations(range(len(values))))
    again = bootstrap_intervals(values[order], [f"{groups[k]} renamed" for k in order], draws=40)
    np.testing.assert_allclose(again, found, atol=1e-12)
    for r in range(values.shape[1]):
        alone = bootstrap_intervals(values[:, r : r + 1], groups, draws=40)
        np.testing.assert_allclose(alone[0], found[r], atol=1e-12)
    np.testing.assert_allclose(bootstrap_intervals(2 * values - 1, groups, draws=40), 2 * found - 1, atol=1e-12)
    low, high = found[:, 0], found[:, 1]
    known = ~np.isnan(low)
    assert (
        (low[known] <= high[known] + 1e-12).all()
        and (found[known] >= -1e-12).all()
        and (found[known] <= 1 + 1e-12).all()
    )
    for r in range(values.shape[1]):  # fewer than two pictures say nothing of the spread
        pictures = {g for g, v in zip(groups, values[:, r], strict=True) if not np.isnan(v)}
        assert bool(known[r]) == (len(pictures) > 1)


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_a_sign_test(first: int, second: int) -> None:
    n, low = first + second, min(first, second)
    tail = sum(comb(n, k) for k in range(low + 1)) / 2**n
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))


@pytest.mark.slow
def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    rng, held = np.random.default_rng(1), 0
    for trial in range(300):
        level = rng.normal(0, 1, 60)  # of each picture, three items each
        right = (np.repeat(level, 3) + rng.normal(0, 1, 180) > 0).astype(float)
        [(low, high)] = bootstrap_intervals(right[:, None], [str(k // 3) for k in range(180)], draws=400, seed=trial)
        held += low <= 0.5 <= high
    assert 0.91 < held / 300 < 0.98
