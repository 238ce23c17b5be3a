"""Attention of packed answers is that of each answer behind its prompt."""

import pytest
import torch
from torch import Tensor

from umed.models.shared_attention import SharedPrefixAttention, cut_chunks

HEADS, KV_HEADS, SIZE, COLUMNS, SCALING = 4, 2, 8, 6, 0.3


def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(heads, n, d), (kv heads, K, d): causal attention of the last n of K positions, (n, heads, d)."""
    k, v = (x.repeat_interleave(len(q) // len(k), 0) for x in (k, v))
    later = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).triu(k.shape[1] - q.shape[1] + 1)
    return ((q @ k.mT * SCALING).masked_fill(later, -torch.inf).softmax(-1) @ v).transpose(0, 1)


@pytest.mark.parametrize(
    ("lengths", "firsts"),
    [
        ([[3, 5, 1], [4, 2, 4]], [0, 2]),
        ([[4, 4], [4, 4]], [0, 0]),
        ([[1]], [COLUMNS - 1]),
    ],
)
@pytest.mark.parametrize("size", [1, 8, 100])  # one answer, some, all answers of a query
def test_values_and_gradients_are_those_of_dense_attention(
    lengths: list[list[int]], firsts: list[int], size: int
) -> None:
    rng, total = torch.Generator().manual_seed(0), sum(map(sum, lengths))

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).requires_grad_(True)

    packed = [random(1, total, heads, SIZE) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    q, k, v = (x.transpose(1, 2) for x in packed)
    keys, values = (random(len(lengths), KV_HEADS, COLUMNS, SIZE) for _ in range(2))
    chunks = cut_chunks([n for each in lengths for n in each], firsts, COLUMNS, size)
    assert [c.start for c in chunks[1:]] == [c.end for c in chunks[:-1]] and chunks[-1].end == total
    found = SharedPrefixAttention.apply(q, k, v, keys, values, chunks, SCALING)
    expected, start = [], 0
    for i, first in enumerate(firsts):
        for length in lengths[i]:
            own = slice(start, start := start + length)
            k_row, v_row = (
                torch.cat([prompt[i, :, first:], answer[0, :, own]], 1) for prompt, answer in ((keys, k), (values, v))
            )
            expected.append(dense(q[0, :, own], k_row, v_row))
    whole, inputs, by_out = torch.cat(expected)[None], (*packed, keys, values), random(*found.shape).detach()
    torch.testing.assert_close(found, whole, atol=1e-12, rtol=0)
    for a, b in zip(*(torch.autograd.grad(x, inputs, by_out) for x in (found, whole)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
