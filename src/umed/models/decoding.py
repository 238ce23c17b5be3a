"""Answers token by token after prompts that were read: a ~ pi(. | x, q), equation (1)."""

from typing import Any

import torch
from torch import Tensor

from umed.errors import InputError
from umed.models.logprobs import distribution
from umed.models.noise import inverse_cdf
from umed.models.reader import Prefix
from umed.rollout import Answers

KEPT = 0.75  # rows are cut when no more than this share of them goes on
LOOK_EVERY = 8  # tokens between two looks at which answers have ended: on a GPU the host waits for each


def decode(policy: Any, prefix: Prefix, max_new_tokens: int, uniform_BT: Tensor | None, temperature: float) -> Answers:
    """Decode one answer for each row of a prefix with room for it.

    The host waits for the device once in `LOOK_EVERY` tokens, so up to that many are decoded in vain.

    Args:
        policy: gives reader, head and processor; in eval mode.
        uniform_BT: noise for the inverse CDF of the full distribution, None = the most probable token.

    Raises:
        InputError: the model's scores are not finite.
    """
    processor, device = policy.processor, prefix.last_B.device
    every = 1 if device.type == "cpu" else LOOK_EVERY
    eos, uniform = torch.tensor(processor.eos_ids, device=device), None if uniform_BT is None else uniform_BT.to(device)
    token, size = prefix.last_B, (len(prefix.last_B), max_new_tokens)
    width = prefix.mask_BP.shape[1]
    mask_BK = torch.cat([prefix.mask_BP, prefix.mask_BP.new_ones(size)], 1)
    ids = token.new_full(size, processor.pad_id)
    valid, logps = torch.zeros_like(ids, dtype=torch.bool), torch.zeros(size, device=device)
    rows = torch.arange(len(token), device=device)  # those that are decoded
    going_on = torch.ones_like(rows, dtype=torch.bool)  # of them, those whose end has not come
    broken = torch.zeros((), dtype=torch.bool, device=device)
    for t in range(max_new_tokens):
        hidden = policy.reader.step(prefix, token[:, None], mask_BK[:, : width + t], t - 1)
        logp = distribution(policy.head(hidden[:, -1]), temperature, processor.suppressed_ids)
        token = logp.argmax(-1) if uniform is None else inverse_cdf(logp, uniform[rows, t])
        chosen = logp.gather(1, token[:, None])[:, 0]
        broken = broken | (chosen.isnan() & going_on).any()
        ids[rows, t], valid[rows, t], logps[rows, t] = token.where(going_on, processor.pad_id), going_on, chosen
        going_on = going_on & ~torch.isin(token, eos)
        if (t + 1) % every and t + 1 < max_new_tokens:
            continue
        left, nan = torch.stack([going_on.sum(), broken.long()]).tolist()
        if nan:
            raise InputError(
                "the model's scores are not finite: its weights have overflowed; go back to an earlier checkpoint and "
                "lower method.lr"
            )
        if not left:
            break
        if left <= KEPT * len(rows):
            kept = going_on.int().argsort(descending=True, stable=True)[:left]
            prefix, mask_BK = prefix.take(kept), mask_BK[kept]
            token, rows, going_on = token[kept], rows[kept], going_on[kept]
    length = int(valid.sum(1).max())
    truncated = torch.zeros(len(ids), dtype=torch.bool, device=device).index_put((rows,), going_on)
    return Answers(ids[:, :length], valid[:, :length], truncated, logps[:, :length].where(valid[:, :length], 0.0))
