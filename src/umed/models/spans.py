"""Characters of an answer's text as its tokens, and as rows of the answer pass."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Span = tuple[int, int]


def char_spans(pieces: Sequence[str]) -> list[Span]:
    """Character span of each token in the joined text."""
    return list(pairwise(accumulate(map(len, pieces), initial=0)))


def tokens_inside(tokens: Sequence[Sequence[Span]], spans: Sequence[Sequence[Span]], length: int) -> Tensor:
    """(B, T) True on tokens that share a character with one of the answer's spans."""
    inside = torch.zeros(len(tokens), length, dtype=torch.bool)
    for b, (of_answer, wanted) in enumerate(zip(tokens, spans, strict=True)):
        for t, (start, end) in enumerate(of_answer):
            inside[b, t] = any(start < e and s < end for s, e in wanted)
    return inside


def rows_of(tokens_BT: Tensor, first: int) -> Tensor:
    """Rows of the answer pass of the True tokens, (B, N), -1 = none; token t is read in at row t + 1."""
    return pad_sequence([row.nonzero()[:, 0] + first for row in tokens_BT], True, -1)
