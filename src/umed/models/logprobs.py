"""Log-probabilities and entropy of answer tokens in fp32, of the distribution that is sampled from."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

TILE = 2**26  # logits at a time: 256 MB in fp32
CPU_BLOCK = 2**16  # logits whose elementwise arithmetic stays in a core's cache: 256 KB in fp32


def distribution(logits: Tensor, temperature: float, suppressed: Sequence[int]) -> Tensor:
    """log softmax(logits / temperature) with the suppressed tokens impossible, (..., V) fp32.

    Sampling draws from it; old, new and reference log-probs are `TokenScores` of it, at the same temperature.
    """
    blocked = _columns(suppressed, logits)
    logits = (logits.float() / temperature).index_fill(-1, blocked, torch.finfo(torch.float32).min)
    return torch.log_softmax(logits, -1)


def _columns(suppressed: Sequence[int], logits: Tensor) -> Tensor:
    """The suppressed ids that have a row in the head at all."""
    columns = torch.tensor([i for i in suppressed if i < logits.shape[-1]], dtype=torch.long)
    return columns.to(logits.device, non_blocking=True)  # the host does not wait for the copy


class TokenScores(torch.autograd.Function):
    """log pi(a_n) and the entropy S of equation (10) of each row of logits, (N, V) at ids (N,) -> (N,) each.

    Autograd through `distribution` would keep several tensors of the logits' size. This keeps the logits alone, and its
    backward pass writes their gradient over them, so that it cannot run twice.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, logits: Tensor, ids: Tensor, temperature: float, blocked: Tensor
    ) -> tuple[Tensor, Tensor]:
        token, most, total, mean = (torch.empty(len(ids), device=ids.device) for _ in range(4))
        for rows in _blocks(logits):
            z = logits[rows].float() / temperature
            z.index_fill_(1, blocked, torch.finfo(torch.float32).min)
            most[rows] = z.amax(1)
            z -= most[rows, None]
            token[rows] = z.gather(1, ids[rows, None])[:, 0]
            p = z.exp()
            total[rows] = p.sum(1)
            mean[rows] = p.mul_(z).sum(1) / total[rows]
        ctx.save_for_backward(logits, ids, most, total, mean, blocked)
        ctx.temperature = temperature
        return token - total.log(), total.log() - mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_logp: Tensor, by_entropy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """d log pi(a) / d z_j = [j = a] - p_j; d S / d z_j = -p_j (log p_j + S), with z = logits / temperature."""
        logits, ids, most, total, mean, blocked = ctx.saved_tensors
        by_logp, by_entropy = by_logp / ctx.temperature, by_entropy / ctx.temperature
        slope, constant = by_entropy / total, (by_logp - by_entropy * mean) / total
        for rows in _blocks(logits):
            z = torch.add(-most[rows, None], logits[rows], alpha=1 / ctx.temperature)
            p = z.exp()
            z.mul_(-slope[rows, None]).sub_(constant[rows, None]).mul_(p)
            z.scatter_add_(1, ids[rows, None], by_logp[rows, None])
            logits[rows] = z.index_fill_(1, blocked, 0.0)
        return logits, None, None, None


def _blocks(logits: Tensor) -> list[slice]:
    """Rows whose arithmetic is done at a time; an accelerator does all at once."""
    rows = len(logits) if logits.device.type != "cpu" else max(1, CPU_BLOCK // logits.shape[1])
    return [slice(first, first + rows) for first in range(0, len(logits), max(1, rows))]


def answer_scores(
    state_BTH: Tensor,
    ids_BT: Tensor,
    mask_BT: Tensor,
    head: Callable[[Tensor], Tensor],
    temperature: float,
    suppressed: Sequence[int],
    tile: int = TILE,
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of valid answer tokens, (B, T) each, 0 elsewhere; only they pass the head.

    Where their logits would be more than `tile` numbers they are computed in parts, and again in the backward pass.
    """

    def part(state_NH: Tensor, ids_N: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(state_NH)
        return TokenScores.apply(logits, ids_N, temperature, _columns(suppressed, logits))

    valid = mask_BT.nonzero(as_tuple=True)  # the mask itself as an index would be searched again each time
    state, ids = state_BTH[valid], ids_BT[valid]
    with torch.no_grad():
        vocabulary = head(state_BTH[:1, :1]).shape[-1]
    rows = max(1, tile // vocabulary)
    recompute = len(ids) > rows and torch.is_grad_enabled()
    scores = [
        checkpoint(part, s, i, use_reentrant=False) if recompute else part(s, i)
        for s, i in zip(state.split(rows), ids.split(rows), strict=True)
    ]
    out = [state.new_zeros(ids_BT.shape, dtype=torch.float32) for _ in range(2)]
    for whole, parts in zip(out, zip(*scores, strict=True), strict=True):
        whole[valid] = torch.cat(parts)
    return out[0], out[1]
