"""The answer pass without padding: valid tokens of all answers in one row, each prompt's keys and values unexpanded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from umed.models import attention
from umed.models.attention import IMPLEMENTATION, AttentionRecorder
from umed.models.cache import whole_cache
from umed.models.shared_attention import Group, SharedPrefixAttention


def fits(core: Any, mask_BT: Tensor, prompt_length: int) -> bool:
    """Whether `PackedPass` computes what the model would compute in padded rows.

    So it is on the CPU where each layer has its own attention through this project's function, with no cap on scores
    and no window that ends inside the prompt, and where no answer has gaps.
    """
    config, width = core.config.get_text_config(), prompt_length + mask_BT.shape[1]
    layers = core.get_decoder().layers
    own = whole_cache(config).layers
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return (
        next(core.parameters()).device.type == mask_BT.device.type == "cpu"
        and config._attn_implementation == IMPLEMENTATION
        and len(own) == len(layers)
        and all(type(layer) is DynamicLayer for layer in own)
        and all(hasattr(layer, "self_attn") for layer in layers)
        and getattr(config, "attn_logit_softcapping", None) is None
        and not (core.training and getattr(config, "attention_dropout", 0.0))
        and all(window is None or window > width for window in windows)
        and not bool((mask_BT[:, 1:] & ~mask_BT[:, :-1]).any())
    )


@dataclass
class PackedPass:
    """One pass over packed answers.

    Args:
        cache: of the Q prompts, read up to their last token.
        mask_QP: which of their columns are no padding.
        rows_B: tokens read in of each answer.
        columns_QI: columns of the image tokens, -1 = none.
        recorder: keeps attention of these answers.
    """

    cache: DynamicCache
    mask_QP: Tensor
    rows_B: Sequence[int]
    columns_QI: Tensor
    recorder: AttentionRecorder | None = None
    layers: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        count, start = len(self.rows_B) // len(self.mask_QP), 0
        self.groups: list[Group] = []
        for i, first in enumerate(self.mask_QP.argmax(1).tolist()):
            self.groups.append(Group.of(self.rows_B[i * count : (i + 1) * count], start, first, self.mask_QP.device))
            start = self.groups[-1].end

    @contextmanager
    def running(self, layers: int) -> Iterator[None]:
        """Inside, the model's attention is `attend`.

        Raises:
            RuntimeError: not in all of its layers: some have read the answers as one text.
        """
        token = attention.packed_pass.set(self)
        try:
            yield
        finally:
            attention.packed_pass.reset(token)
        if len(self.layers) != layers:
            raise RuntimeError(f"attention came from {len(self.layers)} of {layers} layers")

    def attend(self, module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """(1, heads, N, size) -> (1, N, heads, size)."""
        layer: Any = self.cache.layers[module.layer_idx]
        self.layers.add(module.layer_idx)
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        recorder, device = self.recorder, query.device.type
        if recorder is not None and any(module is m for m in recorder.modules):
            with torch.autocast(device, enabled=False):
                maps = [
                    self._rows(recorder, i, query[0], key[0], layer.keys[i], scaling) for i in range(len(self.groups))
                ]
            recorder.maps.append(torch.cat(maps))
        # under autocast rotary positions leave queries and keys in fp32; what SDPA does then is done here
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
        given = [t.to(dtype) for t in (query, key, value, layer.keys, layer.values)]
        return SharedPrefixAttention.apply(*given, self.groups, scaling)

    def _rows(
        self, recorder: AttentionRecorder, i: int, query: Tensor, key: Tensor, keys: Tensor, scaling: float
    ) -> Tensor:
        """The rows that the recorder asks for of the answers to query i in fp32, differentiable, (G, N, I)."""
        group = self.groups[i]
        own, here = slice(i * group.count, (i + 1) * group.count), slice(group.start, group.end)
        rows_GN, columns_I = recorder.rows_BN[own], self.columns_QI[i]
        q, k = (group.spread(x[:, here]).float() for x in (query, key))  # (G, heads, S, size)
        index = rows_GN.clamp(min=0, max=q.shape[2] - 1)
        q = q.gather(2, index[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3]))
        repeat = q.shape[1] // len(keys)
        by_kv_head = q.transpose(0, 1).reshape(len(keys), repeat * rows_GN.numel(), q.shape[3])
        over_prompt = by_kv_head @ keys[:, group.first :].float().mT
        over_prompt = over_prompt.view(q.shape[1], *rows_GN.shape, over_prompt.shape[2]).transpose(0, 1)
        over_own = q @ k.repeat_interleave(repeat, 1).mT
        later = torch.arange(k.shape[2], device=index.device) > index[..., None]
        scores = torch.cat([over_prompt, over_own.masked_fill(later[:, None], float("-inf"))], -1) * scaling
        columns_GI = torch.where(columns_I < 0, -1, columns_I - group.first).expand(group.count, -1)
        return recorder.on_image(scores.softmax(-1), rows_GN, columns_GI)
