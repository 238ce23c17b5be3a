"""Attention of packed answers over their prompts, each of which stands there once for all answers to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 160  # tokens of answers that are computed at a time: more compute scores that are masked, fewer cost calls


@dataclass(frozen=True)
class Chunk:
    """Some answers to one query, n of N packed tokens.

    Args:
        query: number of the prompt; first: its first column that is no padding.
        start, end: the tokens, answer after answer.
        begins: the first token of each answer, counted from `start`.
        bias: (n, K), 0 where a token sees one of the K - n columns of the prompt or an earlier token of its answer,
            else -inf.
    """

    query: int
    first: int
    start: int
    end: int
    begins: Sequence[int]
    bias: Tensor

    def keys(self, of_prompts: Tensor, of_answers: Tensor) -> Tensor:
        """(Q, kv heads, P, d), (1, kv heads, N, d) -> (kv heads, K, d)."""
        return torch.cat([of_prompts[self.query, :, self.first :], of_answers[0, :, self.start : self.end]], 1)


def cut_chunks(rows_B: Sequence[int], firsts: Sequence[int], columns: int, size: int = CHUNK) -> list[Chunk]:
    """Chunks of at most `size` tokens, or of one answer.

    Args:
        rows_B: tokens of each answer, at least 1; the answers to one query stand together.
        firsts: first column of each prompt, P of `columns`, that is no padding.
    """
    chunks: list[Chunk] = []
    count, start = len(rows_B) // len(firsts), 0
    for query, first in enumerate(firsts):
        lengths = list(rows_B[query * count : (query + 1) * count])
        while lengths:
            total, taken = 0, 0
            while taken < len(lengths) and (not taken or total + lengths[taken] <= size):
                total, taken = total + lengths[taken], taken + 1
            here, lengths = lengths[:taken], lengths[taken:]
            answer = torch.arange(taken).repeat_interleave(torch.tensor(here))
            own = (answer[:, None] == answer).tril()
            seen = torch.cat([own.new_ones(total, columns - first), own], 1)
            begins = [sum(here[:i]) for i in range(taken)]
            bias = torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))
            chunks.append(Chunk(query, first, start, start + total, begins, bias))
            start += total
    return chunks


class SharedPrefixAttention(torch.autograd.Function):
    """softmax(scaling * q k + bias) v of packed answers, on the CPU.

    Takes query (1, heads, N, d), key and value (1, kv heads, N, d), the prompts' keys and values (Q, kv heads, P, d),
    chunks and the scaling; gives (1, N, heads, d). Nothing is repeated for answers or heads that is kept.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        keys: Tensor,
        values: Tensor,
        chunks: Sequence[Chunk],
        scaling: float,
    ) -> Tensor:
        out = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
        total = query.new_empty(query.shape[1:3], dtype=torch.promote_types(query.dtype, torch.float32))
        for chunk in chunks:
            here = slice(chunk.start, chunk.end)
            q, k, v, bias = _by_kv_head(chunk, query, chunk.keys(keys, key), chunk.keys(values, value))
            o, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q, k, v, 0.0, False, attn_mask=bias, scale=scaling
            )
            out[0, here], total[:, here] = o.flatten(0, 1).transpose(0, 1), log_sum.flatten(0, 1)
        ctx.save_for_backward(query, key, value, keys, values, out, total)
        ctx.chunks, ctx.scaling = chunks, scaling
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        query, key, value, keys, values, out, total = ctx.saved_tensors
        by_q, by_k, by_v = (torch.empty_like(t) for t in (query, key, value))
        by_keys, by_values = torch.zeros_like(keys), torch.zeros_like(values)
        scaling, heads = ctx.scaling, (keys.shape[1], -1)
        for chunk in ctx.chunks:
            here, own = slice(chunk.start, chunk.end), chunk.bias.shape[1] - chunk.bias.shape[0]
            q, k, v, bias = _by_kv_head(chunk, query, chunk.keys(keys, key), chunk.keys(values, value))
            by_o, o = (t[0, here].transpose(0, 1).unflatten(0, heads) for t in (by_out, out))
            of_q, *of_keys = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                by_o, q, k, v, o, total[:, here].unflatten(0, heads), 0.0, False, attn_mask=bias, scale=scaling
            )
            by_q[0, :, here] = of_q.flatten(0, 1)
            for of_prompt, of_answer, gradient in zip((by_keys, by_values), (by_k, by_v), of_keys, strict=True):
                whole = gradient.sum(1)
                of_prompt[chunk.query, :, chunk.first :] += whole[:, :own]
                of_answer[0, :, here] = whole[:, own:]
        return by_q, by_k, by_v, by_keys, by_values, None, None


def _by_kv_head(chunk: Chunk, query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query, keys, values and bias with kv heads in the place of a batch, so that a kv head is one for its heads."""
    q = query[0, :, chunk.start : chunk.end].unflatten(0, (len(keys), -1))
    k, v = (x[:, None].expand(-1, q.shape[1], -1, -1) for x in (keys, values))
    return q, k, v, chunk.bias.to(q.dtype).expand(len(keys), 1, -1, -1)
