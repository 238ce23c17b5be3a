"""Splits by group: a patient never crosses them."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from umed.errors import InputError
from umed.records import Record

SPLITS = ("train", "val", "test")


def assign_splits(records: Sequence[Record], fractions: Sequence[float], seed: int) -> list[Record]:
    """The same records with `split` set, each source for itself, so another source changes nothing.

    Groups stand in the order of a hash of (seed, source, group) and are cut where the shares of records come nearest
    to `fractions`; with enough groups no split is empty unless its fraction is 0.

    Raises:
        InputError: `fractions` are not three shares of 1.
    """
    shares = [float(f) for f in fractions]
    if len(shares) != len(SPLITS) or min(shares) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise InputError(f"data.split.fractions={shares}: three shares (train, val, test) that sum to 1 are expected")
    split_of: dict[tuple[str, str], str] = {}
    for source in dict.fromkeys(r.source for r in records):
        sizes = Counter(r.group for r in records if r.source == source)
        groups = sorted(sizes, key=lambda group: _rank(seed, source, group))
        edges = [0, *_cuts([sizes[g] for g in groups], shares), len(groups)]
        for name, start, stop in zip(SPLITS, edges, edges[1:], strict=False):
            split_of |= {(source, group): name for group in groups[start:stop]}
    return [replace(r, split=split_of[r.source, r.group]) for r in records]


def _rank(seed: int, source: str, group: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{source}\0{group}".encode()).digest()


def _cuts(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """After how many groups each split but the last ends."""
    upto = list(accumulate(sizes, initial=0))
    needed = [f > 0 for f in shares] if len(sizes) >= sum(f > 0 for f in shares) else [False] * len(shares)
    cuts: list[int] = []
    for k, wanted in enumerate(accumulate(shares[:-1])):
        low = (cuts[-1] if cuts else 0) + needed[k]
        high = len(sizes) - sum(needed[k + 1 :]) if shares[k] else low
        cuts.append(min(range(low, high + 1), key=lambda n: abs(upto[n] - wanted * upto[-1])))
    return cuts
