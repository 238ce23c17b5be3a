"""Log-probabilities and entropy of answer tokens, in fp32, of exactly the distribution that is sampled from."""

from collections.abc import Sequence

import torch
from torch import Tensor


def distribution(logits: Tensor, temperature: float, suppressed: Sequence[int]) -> Tensor:
    """log softmax(logits / temperature) with the suppressed tokens impossible, (..., V) fp32.

    Sampling, old, new and reference log-probs all pass here, so they cannot disagree (one temperature everywhere).
    """
    logits = logits.float() / temperature
    if suppressed:
        blocked = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        blocked[list(suppressed)] = True
        logits = logits.masked_fill(blocked, torch.finfo(torch.float32).min)
    return torch.log_softmax(logits, -1)


def of_tokens(logp: Tensor, ids: Tensor) -> Tensor:
    """log pi(a_t | s_t): (B, T, V) at ids (B, T) -> (B, T)."""
    return logp.gather(-1, ids[..., None]).squeeze(-1)


def entropy(logp: Tensor) -> Tensor:
    """S of equation (10), per position: (B, T, V) -> (B, T)."""
    return -(logp.exp() * logp).sum(-1)
