"""Forward passes over prompts and answers: each prompt with its picture once, then its G answers.

Row t of the answer pass takes token a_{t-1} in (row 0: the prompt's last token), so its hidden state is s_t: it
predicts a_t and gives V(s_t).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from umed.chat import Processor, Prompt
from umed.models.attention import AttentionRecorder
from umed.models.backbone import Backbone
from umed.models.batch import append_answers, picture_inputs
from umed.models.cache import expand, make_room, whole_cache
from umed.models.contexts import uses_checkpointing
from umed.models.feature_store import FeatureStore
from umed.models.features import concatenate_features, given_features, is_frozen
from umed.models.packed import fits, read_packed
from umed.models.picture_encoder import PictureEncoder


@dataclass
class Prefix:
    """Prompts read up to their last token, for B = Q * G rows."""

    cache: DynamicCache
    mask_BP: Tensor  # all P prompt columns
    last_B: Tensor
    next_B: Tensor  # rotary position of the first answer token
    columns_BI: Tensor  # prompt columns of the image tokens, -1 = none
    axes: int  # of the rotary positions: 3 if they are multimodal, else 1
    inputs: dict[str, Tensor]  # those that each answer token repeats from its prompt, (B, 1, ...) each
    queries: Tensor | None = None  # attention of Q prompts' query tokens to patches, (Q, I, P); never repeated

    def take(self, rows: Tensor) -> "Prefix":
        """These rows only, to decode on; the cache is cut in place."""
        self.cache.reorder_cache(rows)  # type: ignore[arg-type]
        return self._with_rows(self.cache, lambda t: t[rows])

    def spread(self, num_candidates: int, room: int, *, keep: bool = False) -> "Prefix":
        """The same for each prompt's G answers, with room for `room` more tokens in the cache; without gradients only.

        Args:
            keep: this prefix can be used again; otherwise its cache is taken over.
        """
        cache = make_room(self.cache, len(self.last_B), num_candidates, room, self.last_B.device, keep)
        return self._with_rows(cache, lambda t: t.repeat_interleave(num_candidates, 0))

    def _with_rows(self, cache: DynamicCache, pick: Callable[[Tensor], Tensor]) -> "Prefix":
        mask, last, first, columns = (pick(t) for t in (self.mask_BP, self.last_B, self.next_B, self.columns_BI))
        inputs = {k: pick(v) for k, v in self.inputs.items()}
        return Prefix(cache, mask, last, first, columns, self.axes, inputs, self.queries)


class Reader:
    """Runs one transformers model over prompts and answers.

    Args:
        core: the model, its adapters in place.
        feature_store: keeps the features of pictures, None = they are computed for each batch.
    """

    def __init__(
        self, core: Any, processor: Processor, backbone: Backbone, feature_store: FeatureStore | None = None
    ) -> None:
        self.core, self.processor, self.backbone = core, processor, backbone
        # transformers renamed the argument within 5.x
        self._cache_name = "cache" if "cache" in signature(core.model.forward).parameters else "past_key_values"
        self.feature_store = feature_store
        self._encode_pictures = PictureEncoder(core, backbone.tower, self._batch, feature_store)

    @property
    def device(self) -> torch.device:
        return next(self.core.parameters()).device

    def read_prompts(self, prompts: Sequence[Prompt], num_candidates: int = 1) -> Prefix:
        """Read each prompt once, without its last token, and expand to G rows; differentiable."""
        batch, position, next_Q, columns_QI = self._batch_with_places(prompts)
        cache = whole_cache(self.core.config.get_text_config())
        # where prompt tokens attend to later ones, the last one must be there, although it is read again
        end = batch["input_ids"].shape[1] - (not self.backbone.prompt_sees_itself)
        with self._features_of(prompts):
            out = self.core.model(
                **{name: batch[name][:, :end] for name in self._token_names},
                position_ids=position[..., :end],
                **{self._cache_name: cache},
                use_cache=True,
                **picture_inputs(batch),
            )
        if self.backbone.prompt_sees_itself:
            cache.crop(-1)
        expand(cache, len(prompts), num_candidates, self.device)

        def repeat(rows: Tensor) -> Tensor:
            return rows.repeat_interleave(num_candidates, 0)

        return Prefix(
            cache,
            repeat(batch["attention_mask"]),
            repeat(batch["input_ids"][:, -1]),
            repeat(next_Q),
            repeat(columns_QI),
            _axes(position),
            {k: repeat(batch[k][:, -1:]) for k in self.backbone.extra_inputs if batch[k].ndim > 2},
            getattr(out, "query_attentions", None),
        )

    def step(self, prefix: Prefix, ids: Tensor, mask_BK: Tensor, first: int) -> Tensor:
        """Read ids (B, S) in, the first of them at answer position `first`; hidden states (B, S, H).

        Args:
            mask_BK: which of the K positions up to the last of `ids` are there.
        """
        steps = torch.arange(first, first + ids.shape[1], device=ids.device)
        out = self.core.model(
            input_ids=ids,
            attention_mask=mask_BK,
            position_ids=_answer_positions(prefix.next_B, steps, prefix.axes),
            **{self._cache_name: prefix.cache},
            **{k: v.expand(-1, ids.shape[1], *v.shape[2:]) for k, v in prefix.inputs.items()},
            use_cache=True,
        )
        return out.last_hidden_state

    def read(
        self,
        prompts: Sequence[Prompt],
        ids_BT: Tensor,
        mask_BT: Tensor,
        recorder: AttentionRecorder | None = None,
        prefix: Prefix | None = None,
    ) -> Tensor:
        """Hidden states (B, T + 1, H) of the answer pass, whose attention goes to `recorder`.

        Args:
            prefix: of these prompts, if they have been read; it stays as it is. Without gradients only.
        """
        if prefix is None and (not self.backbone.shares_prefix or uses_checkpointing(self.core)):
            return self._read_in_full(prompts, ids_BT, mask_BT, recorder)
        return self._read_shared(prompts, ids_BT, mask_BT, recorder, prefix)

    def _read_shared(
        self,
        prompts: Sequence[Prompt],
        ids_BT: Tensor,
        mask_BT: Tensor,
        recorder: AttentionRecorder | None,
        read: Prefix | None,
    ) -> Tensor:
        """Each prompt read once."""
        if fits(self.core, mask_BT, max(len(p.inputs["input_ids"]) for p in prompts)):
            prefix = read or self.read_prompts(prompts)
            if recorder is not None:
                recorder.queries = prefix.queries
            return read_packed(self.core, prefix, ids_BT, mask_BT, recorder)
        count = len(ids_BT) // len(prompts)
        prefix = read.spread(count, ids_BT.shape[1] + 1, keep=True) if read else self.read_prompts(prompts, count)
        if recorder is not None:
            recorder.queries = prefix.queries
        ids = torch.cat([prefix.last_B[:, None], ids_BT], 1)
        with recorder.record(prefix.columns_BI) if recorder else nullcontext():
            return self.step(prefix, ids, torch.cat([prefix.mask_BP, mask_BT.to(prefix.mask_BP.dtype)], 1), -1)

    def _read_in_full(
        self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, recorder: AttentionRecorder | None
    ) -> Tensor:
        """The same with prompt and answer in one row: gradient checkpointing drops the key/value cache."""
        each = [p for p in prompts for _ in range(len(ids_BT) // len(prompts))]
        batch, position, next_B, columns_BI = self._batch_with_places(each)
        steps = torch.arange(ids_BT.shape[1], device=self.device)
        answer_position = _answer_positions(next_B, steps, _axes(position))
        first = batch["input_ids"].shape[1] - 1
        tokens = {name: batch[name] for name in self._token_names}
        recording = recorder.record(columns_BI, first) if recorder else nullcontext()
        with self._features_of(each), recording:
            out = self.core.model(
                **append_answers(tokens, ids_BT, mask_BT, self.backbone.answer_type),
                position_ids=torch.cat([position, answer_position], -1),
                use_cache=False,
                **picture_inputs(batch),
            )
        if recorder is not None:
            recorder.queries = getattr(out, "query_attentions", None)
        return out.last_hidden_state[:, first:]

    @property
    def _token_names(self) -> tuple[str, ...]:
        return ("input_ids", "attention_mask", *self.backbone.extra_inputs)

    def _batch(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        return {k: self._move(v) for k, v in self.processor.collate(prompts).items()}

    def _batch_with_places(self, prompts: Sequence[Prompt]) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """`_batch` with rotary positions, the position of the first answer token, and image columns.

        They are computed on the CPU: on a GPU the host would wait for each picture's size and place.
        """
        batch = self.processor.collate(prompts)
        position = self.backbone.positions(self.core.model, batch)
        places = position, _next(position), self._image_columns(batch)
        moved, next_Q, columns_QI = map(self._move, places)
        return {k: self._move(v) for k, v in batch.items()}, moved, next_Q, columns_QI

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    def _features_of(self, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        """With a frozen tower each picture is encoded once, for all passes over its prompt; otherwise each time."""
        model = self.core.model
        if not hasattr(model, "get_image_features") or not is_frozen(model, self.backbone.tower):
            return nullcontext()
        return given_features(model, concatenate_features(self._encode_pictures(prompts)))

    def _image_columns(self, batch: dict[str, Tensor]) -> Tensor:
        """Column numbers of the image tokens of each row, right-padded with -1."""
        columns = [row.nonzero()[:, 0] for row in batch["input_ids"] == self.processor.image_id]
        return nn.utils.rnn.pad_sequence(columns, batch_first=True, padding_value=-1)


def _axes(position: Tensor) -> int:
    return 3 if position.ndim == 3 else 1


def _next(position: Tensor) -> Tensor:
    """Position of the first answer token, the same on all axes, (Q,)."""
    return position.amax((0, 2) if position.ndim == 3 else 1) + 1


def _answer_positions(next_B: Tensor, steps: Tensor, axes: int) -> Tensor:
    position = next_B[:, None] + steps
    return position if axes == 1 else position.expand(axes, -1, -1)
