"""Attention evidence for the vision relevance reward: SDPA, plus the few rows that are asked for.

With SDPA or flash attention `output_attentions=True` returns nothing, and full eager maps are far too large. The
function registered here answers exactly like SDPA and, while an `AttentionRecorder` records, also computes the softmax
of the rows asked for and keeps their image columns. Where a model caps its scores (Gemma 2), which SDPA cannot, it
answers like eager attention.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as softcapped_attention

IMPLEMENTATION = "evidence"  # with "sdpa" in its name transformers would refuse it to models with capped scores


class AttentionRecorder:
    """Keeps the attention of some query rows on the image tokens.

    Args:
        rows_BN: rows of the answer pass, -1 = no row (its result is 0).
        modules: the attention modules to record, in layer order (reading R5 `layers`).
        heads: the heads to pool, None = all (reading R5 `heads`).
        pool: over heads and layers, `mean` or `max`.
        graph: whether gradients go through the maps, where the pass has any.
    """

    def __init__(
        self,
        rows_BN: Tensor,
        modules: Sequence[nn.Module],
        heads: Sequence[int] | None = None,
        pool: Literal["mean", "max"] = "mean",
        graph: bool = True,
    ) -> None:
        self.rows_BN, self.modules, self.heads, self.pool, self.graph = rows_BN, modules, heads, pool, graph
        self.maps: list[Tensor] = []
        self.queries: Tensor | None = None  # (Q or B, I, P): how query tokens attend to patches

    @contextmanager
    def record(self, columns_BP: Tensor, first: int = 0) -> Iterator[None]:
        """Record the forward pass inside.

        Args:
            columns_BP: key positions of the image tokens, -1 = none (0).
            first: query position of the first row of the answer pass.
        """
        self.columns_BP, self.queries_BN = columns_BP, torch.where(self.rows_BN >= 0, self.rows_BN + first, -1)
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def keep(self, module: nn.Module, rows: Callable[[], Tensor]) -> None:
        """Keep the rows of a module, if it is one of `modules`."""
        if any(module is m for m in self.modules):
            with torch.set_grad_enabled(self.graph and torch.is_grad_enabled()):
                self.maps.append(rows())

    def pooled(self) -> Tensor:
        """Attention, one map over layers and heads, (B, N, P).

        Where the image tokens are queries, the map is composed: of the attention A[t, q] to each query, and of the
        query's attention C[q, p] to the patches, sum_q A[t, q] C[q, p]; it has the sum of A.

        Raises:
            RuntimeError: a layer that was asked for was not recorded: the maps would be silently incomplete.
        """
        if len(self.maps) != len(self.modules):
            raise RuntimeError(f"attention came from {len(self.maps)} of {len(self.modules)} layers")
        pooled = self.reduce(torch.stack(self.maps), 0)
        if self.queries is None:
            return pooled
        with torch.set_grad_enabled(self.graph and torch.is_grad_enabled()):
            of_prompt = pooled.unflatten(0, (len(self.queries), -1)).flatten(1, 2)  # rows of all its answers
            with torch.autocast(pooled.device.type, enabled=False):
                return (of_prompt.float() @ self.queries.float()).view(*pooled.shape[:2], self.queries.shape[-1])

    def on_image(self, share_BHNK: Tensor, rows_BN: Tensor, columns_BP: Tensor) -> Tensor:
        """One map over heads of what rows of attention give to these columns, (B, N, P); -1 = none (0)."""
        share = share_BHNK if self.heads is None else share_BHNK[:, list(self.heads)]
        columns = columns_BP.clamp(min=0)[:, None, :].expand(-1, rows_BN.shape[1], -1)
        return self.reduce(share, 1).gather(2, columns) * (rows_BN >= 0)[..., None] * (columns_BP >= 0)[:, None, :]

    def reduce(self, maps: Tensor, dim: int) -> Tensor:
        return maps.mean(dim) if self.pool == "mean" else maps.amax(dim)


_active: ContextVar[AttentionRecorder | None] = ContextVar("attention_recorder", default=None)
packed_pass: ContextVar[Any] = ContextVar("packed_pass", default=None)  # a `PackedPass`, while one runs


def sdpa_with_evidence(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """SDPA; the active recorder also keeps the softmax rows of equation (6), in fp32 and differentiable."""
    if (packed := packed_pass.get()) is not None:
        return packed.attend(module, query, key, value, scaling), None
    recorder, softcap = _active.get(), kwargs.get("softcap")
    if recorder is not None:
        recorder.keep(module, lambda: _attention_rows(recorder, query, key, attention_mask, scaling, softcap))
    if softcap is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    mask = _additive_mask(module, query, key, attention_mask)  # SDPA cannot cap scores
    return softcapped_attention(module, query, key, value, mask, scaling=scaling, **kwargs)[0], None


def _additive_mask(module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor | None:
    """The mask as eager attention adds it to the scores; a mask that SDPA leaves out is causal for several rows."""
    length = query.shape[2]
    if mask is None and length > 1 and getattr(module, "is_causal", True):
        mask = torch.ones(length, key.shape[2], dtype=torch.bool, device=key.device).tril()[None, None]
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, torch.finfo(query.dtype).min)


def _attention_rows(
    recorder: AttentionRecorder,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    softcap: float | None = None,
) -> Tensor:
    rows, columns = recorder.queries_BN, recorder.columns_BP
    batch, heads, length, size = query.shape
    index = torch.where(rows < 0, length - 1, rows)  # the last row instead: it is no padding, so its softmax is finite
    picked = query.gather(2, index[:, None, :, None].expand(-1, heads, -1, size))
    keys = repeat_kv(key, heads // key.shape[1])
    with torch.autocast(query.device.type, enabled=False):  # which would round the product to 16 bits
        scores = picked.float() @ keys.float().transpose(-1, -2)
    scores = scores * (scaling if scaling is not None else size**-0.5)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is None:  # causal, aligned to the last key
        last = index + key.shape[2] - length
        visible = torch.arange(key.shape[2], device=key.device) <= last[..., None]
        scores = scores.masked_fill(~visible[:, None], float("-inf"))
    else:
        mask = mask.expand(batch, -1, -1, -1)
        kept = mask.gather(2, index[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))
        scores = scores.masked_fill(~kept, float("-inf")) if kept.dtype == torch.bool else scores + kept
    return recorder.on_image(scores.softmax(-1), rows, columns)


def mask_without_wait(*, q_length: int, device: torch.device, allow_is_causal_skip: bool = True, **kwargs: Any) -> Any:
    """The mask of SDPA; for a token that is decoded on a GPU it is always made.

    To leave it out where nothing is hidden, the host would read the padding: it would wait for each token.
    """
    decodes = q_length == 1 and torch.device(device).type != "cpu"
    skip = allow_is_causal_skip and not decodes
    return sdpa_mask(q_length=q_length, device=device, allow_is_causal_skip=skip, **kwargs)


AttentionInterface.register(IMPLEMENTATION, sdpa_with_evidence)
AttentionMaskInterface.register(IMPLEMENTATION, mask_without_wait)
