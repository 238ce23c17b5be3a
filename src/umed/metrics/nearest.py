"""Which of several texts is nearest to an answer, by difflib's ratio: the verdict is difflib's, found faster.

xiaoman-zhang/PMC-VQA, `find_most_similar_index`: the FIRST strict maximum above 0 of
`SequenceMatcher(None, candidate, output).ratio()`. The ratio is not symmetric, so the order of the arguments counts;
in an output of 200 characters or more difflib ignores every character that fills more than 1 % of it.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

_LONG = 200  # characters from which on difflib ignores frequent ones
_PAIRS = 4_000_000  # of outputs and candidates whose bounds are in memory at a time


def nearest(output: str, candidates: Sequence[str]) -> int | None:
    """The position of the nearest candidate; None where nothing is alike."""
    if not output:  # difflib finds two empty texts alike, and no answer is no right one
        return None
    if len(output) < _LONG and output in candidates:  # only an equal text has the ratio 1
        return list(candidates).index(output)
    matcher: SequenceMatcher[str] = SequenceMatcher(None, "", output)
    best, place = 0.0, None
    for c, candidate in enumerate(candidates):
        matcher.set_seq1(candidate)
        if matcher.real_quick_ratio() > best and (ratio := matcher.ratio()) > best:
            best, place = ratio, c
    return place


def are_nearest(outputs: Sequence[str], golds: Sequence[str], candidates: Sequence[str]) -> list[bool]:
    """Of many outputs, whether the candidate nearest to it is its gold text: `candidates[nearest(output)] == gold`.

    difflib's matching blocks form a common subsequence, so the length of the longest one bounds its ratio from above:
    difflib itself is asked only about the gold and the candidates that may beat it, likely ones first.
    """
    place = {c: k for k, c in reversed(list(enumerate(candidates)))}
    pairs = list(dict.fromkeys(zip(outputs, golds, strict=True)))
    pairs = [(output, gold) for output, gold in pairs if output and gold in place]  # nothing said is never right
    distinct = list(dict.fromkeys(output for output, _ in pairs))
    wanted: dict[str, list[str]] = {output: [] for output in distinct}
    for output, gold in pairs:
        wanted[output].append(gold)
    found: dict[tuple[str, str], bool] = {}
    lengths = np.array([len(c) for c in candidates])
    rows = max(1, _PAIRS // max(1, len(candidates)))
    for start in range(0, len(distinct), rows):
        part = distinct[start : start + rows]
        common = process.cdist(part, candidates, scorer=LCSseq.similarity, dtype=np.int32)
        for output, common_C in zip(part, common, strict=True):
            judge = _Duel(output, candidates, common_C, lengths)
            for gold in wanted[output]:
                found[output, gold] = judge.wins(place[gold])
    return [found.get(pair, False) for pair in zip(outputs, golds, strict=True)]


class _Duel:
    """One output against all candidates."""

    def __init__(self, output: str, candidates: Sequence[str], common_C: np.ndarray, lengths_C: np.ndarray) -> None:
        self.output, self.candidates = output, candidates
        total_C = lengths_C + len(output)
        self.bound_C = 2.0 * common_C / total_C  # as difflib rounds it
        self.matcher: SequenceMatcher[str] = SequenceMatcher(None, "", output)

    def ratio(self, c: int) -> float:
        self.matcher.set_seq1(self.candidates[c])
        return self.matcher.ratio()

    def wins(self, gold: int) -> bool:
        """Whether a candidate is the first of those with the highest ratio, and alike at all."""
        own = self.ratio(gold) if self.bound_C[gold] > 0 else 0.0
        if own == 0:
            return False
        rivals = np.flatnonzero(self.bound_C >= own)
        for c in rivals[np.argsort(-self.bound_C[rivals], kind="stable")].tolist():
            if c == gold or (self.bound_C[c] == own and c > gold):
                continue
            ratio = self.ratio(c)
            if ratio > own or (ratio == own and c < gold):
                return False
        return True
