"""Which of several texts is nearest to an answer, by difflib's ratio: the verdict is difflib's, found faster.

`cydifflib` is difflib in C++, number for number; bounds from above leave out the candidates that cannot win.

xiaoman-zhang/PMC-VQA, `find_most_similar_index`: the FIRST strict maximum above 0 of
`SequenceMatcher(None, candidate, output).ratio()`. The ratio is not symmetric, so the order of the arguments counts;
in an output of 200 characters or more difflib ignores every character that fills more than 1 % of it.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from cydifflib import SequenceMatcher
from rapidfuzz import process
from rapidfuzz.distance import LCSseq
from scipy.sparse import csr_matrix

_LONG = 200  # characters from which on difflib ignores frequent ones
_PAIRS = 4_000_000  # of outputs and candidates whose bounds are in memory at a time


def nearest(output: str, candidates: Sequence[str]) -> int | None:
    """The position of the nearest candidate; None where nothing is alike."""
    if not output:  # difflib finds two empty texts alike, and no answer is no right one
        return None
    if len(output) < _LONG and output in candidates:  # only an equal text has the ratio 1
        return list(candidates).index(output)
    matcher = SequenceMatcher(None, "", output)
    best, place = 0.0, None
    for c, candidate in enumerate(candidates):
        matcher.set_seq1(candidate)
        if matcher.real_quick_ratio() > best and (ratio := matcher.ratio()) > best:
            best, place = ratio, c
    return place


def are_nearest(outputs: Sequence[str], golds: Sequence[str], candidates: Sequence[str]) -> list[bool]:
    """Of many outputs, whether the candidate nearest to it is its gold text: `candidates[nearest(output)] == gold`.

    difflib itself is asked only about the gold and the candidates that may beat it, likely ones first.
    """
    place = {c: k for k, c in reversed(list(enumerate(candidates)))}
    pairs = list(dict.fromkeys(zip(outputs, golds, strict=True)))
    pairs = [(output, gold) for output, gold in pairs if output and gold in place]  # an empty answer is never right
    wanted: dict[str, list[str]] = {}
    for output, gold in pairs:
        wanted.setdefault(output, []).append(gold)
    found: dict[tuple[str, str], bool] = {}
    if not wanted:
        return [False] * len(outputs)
    lengths_C = np.array([len(c) for c in candidates])
    rows = max(1, _PAIRS // max(1, len(candidates)))
    for is_long, bounds in ((False, _Subsequences(candidates).bounds), (True, _Anchored(candidates).bounds)):
        own = [output for output in wanted if (len(output) >= _LONG) == is_long]
        for start in range(0, len(own), rows):
            part = own[start : start + rows]
            for output, matched_C in zip(part, bounds(part), strict=True):
                judge = _Duel(output, candidates, 2.0 * matched_C / (lengths_C + len(output)))  # as difflib rounds it
                for gold in wanted[output]:
                    found[output, gold] = judge.wins(place[gold])
    return [found.get(pair, False) for pair in zip(outputs, golds, strict=True)]


class _Subsequences:
    """Upper bounds of the letters that difflib matches: its blocks form a common subsequence."""

    def __init__(self, candidates: Sequence[str]) -> None:
        self.candidates = candidates

    def bounds(self, outputs: Sequence[str]) -> np.ndarray:
        """(N, C): length of the longest common subsequence."""
        return process.cdist(outputs, self.candidates, scorer=LCSseq.similarity, dtype=np.int32)


class _Anchored:
    """The same for long outputs, where that bound says little: a block needs a letter that is rare in the output.

    Only a block at the very beginning of both texts does without. A block of L letters holds L - 2 triples of letters,
    and blocks do not overlap: letters matched <= triples of the candidate that the output has + 2 a block.
    """

    def __init__(self, candidates: Sequence[str]) -> None:
        self.letters = {letter: k for k, letter in enumerate(dict.fromkeys("".join(candidates)))}
        self.letters_AC = np.zeros((len(self.letters), len(candidates)), np.float32)
        self.triples: dict[str, int] = {}
        rows, columns = [], []
        for c, candidate in enumerate(candidates):
            for letter, count in Counter(candidate).items():
                self.letters_AC[self.letters[letter], c] = count
            for triple in _triples(candidate):
                rows.append(self.triples.setdefault(triple, len(self.triples)))
                columns.append(c)
        shape = len(self.triples), len(candidates)
        self.triples_TC = csr_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape)
        self.lengths_C = np.array([len(c) for c in candidates])
        self.first_C = np.array([ord(c[0]) if c else -1 for c in candidates])

    def bounds(self, outputs: Sequence[str]) -> np.ndarray:
        """(N, C): at most so many letters match."""
        rare_NA = np.zeros((len(outputs), len(self.letters)), np.float32)
        columns, ends = [], [0]
        for n, output in enumerate(outputs):
            most = len(output) // 100 + 1
            rare = [self.letters[x] for x, count in Counter(output).items() if count <= most and x in self.letters]
            rare_NA[n, rare] = 1
            columns += [self.triples[x] for x in set(_triples(output)) if x in self.triples]
            ends.append(len(columns))
        has_NT = csr_matrix((np.ones(len(columns), np.int32), columns, ends), (len(outputs), len(self.triples)))
        first_N = np.array([ord(output[0]) for output in outputs])
        blocks_NC = (rare_NA @ self.letters_AC).astype(np.int32) + (first_N[:, None] == self.first_C)
        most_NC = np.minimum((has_NT @ self.triples_TC).toarray() + 2 * blocks_NC, self.lengths_C)
        return np.where(blocks_NC > 0, most_NC, 0)


def _triples(text: str) -> list[str]:
    return [text[k : k + 3] for k in range(len(text) - 2)]


class _Duel:
    """One output against all candidates, whose ratios have upper bounds."""

    def __init__(self, output: str, candidates: Sequence[str], bound_C: np.ndarray) -> None:
        self.candidates, self.bound_C = candidates, bound_C
        self.matcher = SequenceMatcher(None, "", output)

    def ratio(self, c: int) -> float:
        self.matcher.set_seq1(self.candidates[c])
        return self.matcher.ratio()

    def wins(self, gold: int) -> bool:
        """Whether a candidate is the first of those with the highest ratio, and alike at all."""
        own = self.ratio(gold) if self.bound_C[gold] > 0 else 0.0
        if own == 0:
            return False
        rivals = np.flatnonzero(self.bound_C >= own)
        likely = np.argsort((-30_000 * self.bound_C[rivals]).astype(np.int16), kind="stable")  # fast for small numbers
        for c in rivals[likely].tolist():
            if c == gold or (self.bound_C[c] == own and c > gold):
                continue
            ratio = self.ratio(c)
            if ratio > own or (ratio == own and c < gold):
                return False
        return True
