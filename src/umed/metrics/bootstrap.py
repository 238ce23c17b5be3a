"""Intervals for means and paired gains over seeds, sources and patients."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

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
