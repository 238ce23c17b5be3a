"""Bootstrap over pictures against a plain loop, and McNemar's exact test against tossed coins."""

from math import comb

import numpy as np
import pytest

from umed.evaluation.intervals import grouped_intervals, mcnemar


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
    found = grouped_intervals(values, groups, draws=300, seed=4)
    for r in range(3):
        assert found[r] == pytest.approx(plain(values[:, r], groups, 300, 4))


def test_items_of_one_picture_are_no_news() -> None:
    values = np.tile([0.0, 1.0], 50)
    [alone] = grouped_intervals(values[:, None], [str(k) for k in range(100)])
    [pairs] = grouped_intervals(np.repeat([0.0, 1.0], 50)[:, None], [str(k // 25) for k in range(100)])
    assert tuple(pairs) == (0, 1) and 0.35 < alone[0] < alone[1] < 0.65
    assert np.isnan(grouped_intervals(np.array([[1.0], [0.0]]), ["same", "same"])).all()
    assert np.isnan(grouped_intervals(np.empty((0, 1)), [])).all()


def test_a_column_without_verdicts_has_no_interval() -> None:
    values = np.array([[1.0, np.nan], [0.0, np.nan], [1.0, 1.0]])
    found = grouped_intervals(values, ["a", "b", "c"], draws=50)
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 9), (9, 3), (5, 5), (0, 12)])
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
        [(low, high)] = grouped_intervals(right[:, None], [str(k // 3) for k in range(180)], draws=400, seed=trial)
        held += low <= 0.5 <= high
    assert 0.91 < held / 300 < 0.98
