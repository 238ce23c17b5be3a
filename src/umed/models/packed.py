"""The answer pass without padding: valid tokens of all answers in one row, each prompt's keys and values unexpanded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from umed.models import attention
from umed.models.attention import IMPLEMENTATION, AttentionRecorder
from umed.models.cache import whole_cache
from umed.models.shared_attention import SharedPrefixAttention, cut_chunks

if TYPE_CHECKING:
    from umed.models.reader import Prefix


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
        is_on_cpu(core)
        and config._attn_implementation == IMPLEMENTATION
        and len(own) == len(layers)
        and all(type(layer) is DynamicLayer for layer in own)
        and all(hasattr(layer, "self_attn") for layer in layers)
        and getattr(config, "attn_logit_softcapping", None) is None
        and not (core.training and getattr(config, "attention_dropout", 0.0))
        and all(window is None or window > width for window in windows)
        and not bool((mask_BT[:, 1:] & ~mask_BT[:, :-1]).any())
    )


def is_on_cpu(core: Any) -> bool:
    return next(core.parameters()).device.type == "cpu"


def read_packed(
    core: Any, prefix: "Prefix", ids_BT: Tensor, mask_BT: Tensor, recorder: AttentionRecorder | None
) -> Tensor:
    """States (B, T + 1, H) of the answer pass after Q prompts that were read; 0 behind an answer."""
    num_candidates = len(ids_BT) // len(prefix.last_B)
    last_B, next_B = (t.repeat_interleave(num_candidates) for t in (prefix.last_B, prefix.next_B))
    read_BT = nn.functional.pad(mask_BT, (1, 0), value=True)
    answer, step = read_BT.nonzero(as_tuple=True)
    position = (next_B[answer] + step - 1)[None]
    packed = PackedPass(prefix.cache, prefix.mask_BP, read_BT.sum(1).tolist(), prefix.columns_BI, recorder)
    with packed.running(len(core.get_decoder().layers)):
        out = core.model(
            input_ids=torch.cat([last_B[:, None], ids_BT], 1)[read_BT][None],
            attention_mask=read_BT.new_ones(1, 1, 1, 1),  # four dimensions: no mask is made of it
            position_ids=position if prefix.axes == 1 else position.expand(prefix.axes, -1, -1),
            use_cache=False,
        )
    state = out.last_hidden_state[0]
    return state.new_zeros(*read_BT.shape, state.shape[-1]).index_put((answer, step), state)


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
        firsts, columns = self.mask_QP.argmax(1).tolist(), self.mask_QP.shape[1] - 1
        self.chunks = cut_chunks(self.rows_B, firsts, columns)

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
        if recorder is not None:
            with torch.autocast(device, enabled=False):
                recorder.keep(module, lambda: self._rows(recorder, query, key, layer.keys, scaling))
        # under autocast rotary positions leave queries and keys in fp32; what SDPA does then is done here
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
        given = [t.to(dtype) for t in (query, key, value, layer.keys, layer.values)]
        return SharedPrefixAttention.apply(*given, self.chunks, scaling)

    def _rows(self, recorder: AttentionRecorder, query: Tensor, key: Tensor, keys: Tensor, scaling: float) -> Tensor:
        """The rows that the recorder asks for in fp32, differentiable, (B, N, I)."""
        maps, size = [], query.shape[3]
        rows = recorder.rows_BN.split([len(chunk.begins) for chunk in self.chunks])
        for chunk, rows_AN in zip(self.chunks, rows, strict=True):
            begins = torch.tensor(chunk.begins, device=rows_AN.device)[:, None]
            index = (rows_AN.clamp(min=0) + begins).clamp(max=len(chunk.bias) - 1).flatten()
            q = query[0, :, chunk.start : chunk.end][:, index].float()
            k = chunk.keys(keys, key).float()
            by_kv_head = q.view(len(k), len(q) // len(k) * len(index), size)
            scores = (by_kv_head @ k.mT * scaling).view(len(q), *index.shape, k.shape[1]) + chunk.bias[index]
            share = scores.softmax(-1).unflatten(1, rows_AN.shape).transpose(0, 1)
            columns_I = self.columns_QI[chunk.query]
            columns_AI = torch.where(columns_I < 0, -1, columns_I - chunk.first).expand(len(rows_AN), -1)
            maps.append(recorder.on_image(share, rows_AN, columns_AI))
        return torch.cat(maps)
