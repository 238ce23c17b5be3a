"""Bootstrap intervals for means and paired gains: over pictures, and over seeds, sources and patients."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import binomtest

Verdicts = Mapping[str, Mapping[str, float]]  # source -> record id -> verdict, of one seed


def interval(
    seeds: Sequence[Verdicts], groups: Mapping[str, str], draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Mean over the sources, and its two-level bootstrap interval: seeds and groups (patients) are drawn anew.

    For a paired gain give differences of verdicts; the pairing is by seed and record.

    Args:
        seeds: verdicts of each seed, on the same records.
        groups: record id -> group; the records of a group are drawn together.

    Returns:
        mean, low, high.
    """
    rng = np.random.default_rng(seed)
    seed_weights = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), draws) / len(seeds)
    means, drawn = [], np.zeros(draws)
    for source in seeds[0]:
        members = defaultdict(list)
        for record in seeds[0][source]:
            members[groups[record]].append(record)
        sums = np.array([[sum(s[source][r] for r in m) for m in members.values()] for s in seeds])
        counts = np.array([len(m) for m in members.values()])
        weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), draws)
        drawn += (seed_weights @ sums * weights).sum(1) / (weights @ counts)
        means.append(sums.mean(0).sum() / counts.sum())
    tail = (1 - level) / 2
    low, high = np.quantile(drawn / len(means), [tail, 1 - tail])
    return float(np.mean(means)), float(low), float(high)


def difference(after: Verdicts, before: Verdicts) -> dict[str, dict[str, float]]:
    """Verdicts after minus before, record by record."""
    return {source: {r: v - before[source][r] for r, v in records.items()} for source, records in after.items()}


def bootstrap_intervals(
    values_NR: np.ndarray, groups: Sequence[str], draws: int = 2000, level: float = 0.95, seed: int = 0
) -> np.ndarray:
    """Percentile intervals of R means at once: whole groups (pictures) are drawn anew, the same for every column.

    Args:
        values_NR: of N items, NaN where a rule does not apply.
        groups: of each item; the items of a group are drawn together.

    Returns:
        (R, 2) low and high; NaN for a column with fewer than two groups.
    """
    return quantile_intervals(bootstrap_means(values_NR, groups, draws, seed), level)


def bootstrap_means(values_NR: np.ndarray, groups: Sequence[str], draws: int, seed: int = 0) -> np.ndarray:
    """(draws, R): the means of each draw of groups; NaN for a column with fewer than two groups."""
    _, group_N = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
    count = int(group_N.max(initial=-1)) + 1
    known_NR = ~np.isnan(values_NR)
    columns = np.concatenate([np.where(known_NR, values_NR, 0.0), known_NR], 1)
    sums_GC = np.stack([np.bincount(group_N, column, count) for column in columns.T], 1)
    rng = np.random.default_rng(seed)
    drawn = np.empty((draws, sums_GC.shape[1]))
    for k in range(draws):
        drawn[k] = np.bincount(rng.integers(count, size=count), minlength=count) @ sums_GC
    size = values_NR.shape[1]
    with np.errstate(invalid="ignore"):
        means = drawn[:, :size] / drawn[:, size:]
    means[:, (sums_GC[:, size:] > 0).sum(0) < 2] = np.nan
    return means


def quantile_intervals(means_DR: np.ndarray, level: float = 0.95) -> np.ndarray:
    """(R, 2): low and high quantiles of each column; NaN where all of it is NaN."""
    found = np.full((means_DR.shape[1], 2), np.nan)
    tail = (1 - level) / 2
    for r in np.flatnonzero(~np.isnan(means_DR).all(0)):
        found[r] = np.nanquantile(means_DR[:, r], [tail, 1 - tail])
    return found


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test: items that one run alone has right, as tosses of a fair coin."""
    count = only_first + only_second
    return float(binomtest(only_first, count).pvalue) if count else 1.0
