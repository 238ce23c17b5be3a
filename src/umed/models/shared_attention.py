"""Attention of the packed answers to one query over its prompt, which all of them share, and over themselves.

The prompt's keys and values are neither repeated for each answer nor for each head. The two parts are computed apart
and joined by their log-sum-exp, as flash attention joins blocks of keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Group:
    """The answers to one query among N packed tokens.

    Args:
        start, end: its n tokens, answer after answer.
        count: G answers.
        slots: (G * S,) token of the group in each place of G answers padded to S tokens; an answer's last token again
            in the places behind it.
        places: (n,) the place of each token.
        first: the prompt's first column that is no padding.
    """

    start: int
    end: int
    count: int
    slots: Tensor
    places: Tensor
    first: int

    @classmethod
    def of(cls, lengths: Sequence[int], start: int, first: int, device: torch.device) -> "Group":
        size, total = max(lengths), sum(lengths)
        length_G = torch.tensor(lengths)
        steps = torch.arange(size).expand(len(lengths), -1)
        slots = torch.minimum(steps, length_G[:, None] - 1) + (length_G.cumsum(0) - length_G)[:, None]
        places = (steps < length_G[:, None]).flatten().nonzero()[:, 0]
        return cls(start, start + total, len(lengths), slots.flatten().to(device), places.to(device), first)

    @property
    def full(self) -> bool:
        """Whether all answers have S tokens."""
        return len(self.slots) == self.end - self.start

    def spread(self, x: Tensor) -> Tensor:
        """(..., n, d) -> (G, ..., S, d)."""
        x = x if self.full else x.index_select(-2, self.slots)
        return x.unflatten(-2, (self.count, -1)).movedim(-3, 0)

    def join(self, x: Tensor) -> Tensor:
        """(G, ..., S, d) -> (..., n, d)."""
        x = x.movedim(0, -3).flatten(-3, -2)
        return x if self.full else x.index_select(-2, self.places)

    def there(self) -> Tensor:
        """Whether a place has a token, (G, 1, S, 1)."""
        there = torch.zeros(len(self.slots), dtype=torch.bool, device=self.slots.device)
        return there.index_fill(0, self.places, True).view(self.count, 1, -1, 1)


class SharedPrefixAttention(torch.autograd.Function):
    """softmax(scaling * q k) v of packed answers, on the CPU.

    Takes query (1, heads, N, d), key and value (1, kv heads, N, d), the prompts' keys and values (Q, kv heads, P, d), Q
    groups and the scaling; gives (1, N, heads, d).
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor, groups: Any, scaling: float
    ) -> Tensor:
        out = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3])
        total = query.new_empty(query.shape[1:3], dtype=torch.promote_types(query.dtype, torch.float32))
        for i, group in enumerate(groups):
            here = slice(group.start, group.end)
            q, k, v = query[0, :, here], key[0, :, here], value[0, :, here]
            over_prompt, prompt_sum = _flash(
                *_by_kv_head(q, keys[i, :, group.first :], values[i, :, group.first :]), scaling, False
            )
            over_own, own_sum = _flash(*_by_answer(group, q, k, v), scaling, True)
            prompt_sum, own_sum = prompt_sum.flatten(0, 1), group.join(own_sum[..., None])[..., 0]
            total[:, here] = torch.logaddexp(prompt_sum, own_sum)
            shares = [(part - total[:, here]).exp()[..., None] for part in (prompt_sum, own_sum)]
            joined = over_prompt.flatten(0, 1) * shares[0] + group.join(over_own) * shares[1]
            out[0, here] = joined.transpose(0, 1)
        ctx.save_for_backward(query, key, value, keys, values, out, total)
        ctx.groups, ctx.scaling = groups, scaling
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_out: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Each part's gradient, with the output and log-sum-exp of both in place of its own."""
        query, key, value, keys, values, out, total = ctx.saved_tensors
        by_q, by_k, by_v = (torch.empty_like(t) for t in (query, key, value))
        by_keys, by_values = torch.zeros_like(keys), torch.zeros_like(values)
        heads = (keys.shape[1], -1)
        for i, group in enumerate(ctx.groups):
            here, columns = slice(group.start, group.end), slice(group.first, None)
            q, k, v = query[0, :, here], key[0, :, here], value[0, :, here]
            o, by_o = out[0, here].transpose(0, 1), by_out[0, here].transpose(0, 1)
            lse = total[:, here]
            given = _by_kv_head(q, keys[i, :, columns], values[i, :, columns])
            q1, k1, v1 = _flash_backward(
                by_o.unflatten(0, heads), *given, o.unflatten(0, heads), lse.unflatten(0, heads), ctx.scaling, False
            )
            by_keys[i, :, columns], by_values[i, :, columns] = k1.sum(1), v1.sum(1)
            by_own = group.spread(by_o) if group.full else group.spread(by_o) * group.there()
            q2, k2, v2 = _flash_backward(
                by_own,
                *_by_answer(group, q, k, v),
                group.spread(o),
                group.spread(lse[..., None])[..., 0],
                ctx.scaling,
                True,
            )
            by_q[0, :, here] = q1.flatten(0, 1) + group.join(q2)
            by_k[0, :, here], by_v[0, :, here] = (group.join(x.unflatten(1, heads).sum(2)) for x in (k2, v2))
        return by_q, by_k, by_v, by_keys, by_values, None, None


def _by_kv_head(q: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(heads, n, d), (kv heads, P, d) -> (kv heads, heads / kv heads, ..., d), nothing copied."""
    q = q.unflatten(0, (len(keys), -1))
    return q, keys[:, None].expand(-1, q.shape[1], -1, -1), values[:, None].expand(-1, q.shape[1], -1, -1)


def _by_answer(group: Group, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(heads, n, d), (kv heads, n, d) -> (G, heads, S, d) each."""
    repeat = len(q) // len(k)
    k, v = (group.spread(x).repeat_interleave(repeat, 1) for x in (k, v))
    return group.spread(q), k, v


def _flash(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum-exp of its scores, (B, heads, n, d) and (B, heads, n)."""
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, scale=scaling)


def _flash_backward(
    by_o: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, scaling: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        by_o, q, k, v, o, lse, 0.0, causal, scale=scaling
    )
