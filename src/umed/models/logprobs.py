"""Log-probabilities and entropy of answer tokens in fp32, of the distribution that is sampled from."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

TILE = 2**26  # logits at a time: 256 MB in fp32


def distribution(logits: Tensor, temperature: float, suppressed: Sequence[int]) -> Tensor:
    """log softmax(logits / temperature) with the suppressed tokens impossible, (..., V) fp32.

    Sampling, old, new and reference log-probs all call this, so they share one temperature.
    """
    logits = logits.float() / temperature
    if suppressed:
        # some have no row in the head at all
        columns = torch.tensor([i for i in suppressed if i < logits.shape[-1]], dtype=torch.long)
        blocked = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        blocked[columns.to(logits.device, non_blocking=True)] = True
        logits = logits.masked_fill(blocked, torch.finfo(torch.float32).min)
    return torch.log_softmax(logits, -1)


def of_tokens(logp: Tensor, ids: Tensor) -> Tensor:
    """log pi(a_t | s_t): (B, T, V) at ids (B, T) -> (B, T)."""
    return logp.gather(-1, ids[..., None]).squeeze(-1)


def entropy(logp: Tensor) -> Tensor:
    """S of equation (10), per position: (B, T, V) -> (B, T)."""
    return -(logp.exp() * logp).sum(-1)


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
        logp = distribution(head(state_NH), temperature, suppressed)
        return of_tokens(logp, ids_N), entropy(logp)

    state, ids = state_BTH[mask_BT], ids_BT[mask_BT]
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
        whole[mask_BT] = torch.cat(parts)
    return out[0], out[1]
