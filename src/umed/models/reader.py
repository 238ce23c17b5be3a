"""How a language model reads prompts and answers: the prompt with its picture once a query, then the G answers.

Row t of the answer pass reads in token a_{t-1} (row 0: the prompt's last token), so its hidden state is s_t: it
predicts a_t and gives V(s_t).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from umed.chat import Processor, Prompt
from umed.models.attention import Recorder
from umed.models.backbone import Backbone, with_answer
from umed.models.cache import expand, whole_cache
from umed.models.contexts import checkpointed, generating
from umed.models.family import ROWS
from umed.models.features import encode, is_frozen, joined, seeing


@dataclass
class Prefix:
    """Prompts read up to their last token, for B = Q * G rows."""

    cache: DynamicCache
    mask_BP: Tensor  # all P prompt columns
    last_B: Tensor
    next_B: Tensor  # rotary position of the first answer token
    columns_BI: Tensor  # prompt columns of the image tokens, -1 = none
    axes: int  # of the rotary positions: 3 where they are multimodal, else 1
    rows: dict[str, Tensor]  # what each answer token goes on with, (B, 1, ...) each

    def take(self, rows: Tensor) -> "Prefix":
        """These rows only; the cache is cut in place."""
        self.cache.reorder_cache(rows)  # type: ignore[arg-type]
        further = {k: v[rows] for k, v in self.rows.items()}
        mask, last, first, columns = (t[rows] for t in (self.mask_BP, self.last_B, self.next_B, self.columns_BI))
        return Prefix(self.cache, mask, last, first, columns, self.axes, further)


class Reader:
    """Reads with one transformers model.

    Args:
        core: the model, its adapters in place.
        eyes: of a reader whose frozen tower is the same, so that its features serve this one too.
    """

    def __init__(self, core: Any, processor: Processor, backbone: Backbone, eyes: object | None = None) -> None:
        self.core, self.processor, self.backbone = core, processor, backbone
        # transformers renamed the argument within 5.x
        self._cache = "cache" if "cache" in signature(core.model.forward).parameters else "past_key_values"
        self.eyes = eyes or object()  # whose features a prompt carries

    @property
    def device(self) -> torch.device:
        return next(self.core.parameters()).device

    def _batch(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        return {k: v.to(self.device) for k, v in self.processor.collate(prompts).items()}

    def _looking(self, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        """With a frozen tower each picture is encoded once, for all passes over its prompt; otherwise each time."""
        if not hasattr(self.core.model, "get_image_features") or not is_frozen(self.core.model, self.backbone.tower):
            return nullcontext()
        unseen = {id(p): p for p in prompts if p.seen is None or p.seen[0] is not self.eyes}
        with generating(self.core) if unseen else nullcontext():
            for p in unseen.values():
                inputs = {k: v.to(self.device) for k, v in p.inputs.items() if k not in ROWS}
                p.seen = (self.eyes, encode(self.core.model, inputs))
        return seeing(self.core.model, joined([p.seen[1] for p in prompts]))

    def read_prompts(self, prompts: Sequence[Prompt], num_candidates: int) -> Prefix:
        """Read each prompt once, without its last token, and expand to G rows; differentiable."""
        batch = self._batch(prompts)
        position = self.backbone.positions(self.core.model, batch)
        cache = whole_cache(self.core.config.get_text_config())
        # where prompt tokens see later ones, the last one must be there, although it is read again
        end = batch["input_ids"].shape[1] - (not self.backbone.prompt_sees_itself)
        with self._looking(prompts):
            self.core.model(
                input_ids=batch["input_ids"][:, :end],
                attention_mask=batch["attention_mask"][:, :end],
                position_ids=position[..., :end],
                **{name: batch[name][:, :end] for name in self.backbone.row_inputs},
                **{self._cache: cache},
                use_cache=True,
                **{k: v for k, v in batch.items() if k not in ROWS},
            )
        if self.backbone.prompt_sees_itself:
            cache.crop(-1)
        expand(cache, len(prompts), num_candidates, self.device)
        each = [
            t.repeat_interleave(num_candidates, 0)
            for t in (batch["attention_mask"], batch["input_ids"][:, -1], _next(position), self._columns(batch))
        ]
        mask, last, first, columns = each
        go_on = {k: batch[k][:, -1:] for k in self.backbone.row_inputs if batch[k].ndim > 2}
        go_on = {k: v.repeat_interleave(num_candidates, 0) for k, v in go_on.items()}
        return Prefix(cache, mask, last, first, columns, _axes(position), go_on)

    def step(self, prefix: Prefix, ids: Tensor, mask: Tensor, first: int) -> Tensor:
        """Read ids (B, S) in, the first of them at answer position `first`; hidden states (B, S, H)."""
        steps = torch.arange(first, first + ids.shape[1], device=ids.device)
        out = self.core.model(
            input_ids=ids,
            attention_mask=torch.cat([prefix.mask_BP, mask], 1),
            position_ids=_answer_positions(prefix.next_B, steps, prefix.axes),
            **{self._cache: prefix.cache},
            **{k: v.expand(-1, ids.shape[1], *v.shape[2:]) for k, v in prefix.rows.items()},
            use_cache=True,
        )
        return out.last_hidden_state

    def read(
        self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, recorder: Recorder, rows_BN: Tensor
    ) -> Tensor:
        """Hidden states (B, T + 1, H) of the answer pass; `recorder` gets the rows `rows_BN` of it."""
        whole = not self.backbone.shares_prefix or checkpointed(self.core)
        return (self._in_full if whole else self._shared)(prompts, ids_BT, mask_BT, recorder, rows_BN)

    def _shared(
        self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, recorder: Recorder, rows_BN: Tensor
    ) -> Tensor:
        """Each prompt read once."""
        modules, recorder.modules = recorder.modules, ()
        prefix = self.read_prompts(prompts, len(ids_BT) // len(prompts))
        recorder.modules, recorder.rows_BN, recorder.columns_BP = modules, rows_BN, prefix.columns_BI
        ids = torch.cat([prefix.last_B[:, None], ids_BT], 1)
        return self.step(prefix, ids, mask_BT.to(prefix.mask_BP.dtype), -1)

    def _in_full(
        self, prompts: Sequence[Prompt], ids_BT: Tensor, mask_BT: Tensor, recorder: Recorder, rows_BN: Tensor
    ) -> Tensor:
        """The same with prompt and answer in one row: gradient checkpointing drops the key/value cache."""
        each = [p for p in prompts for _ in range(len(ids_BT) // len(prompts))]
        batch = self._batch(each)
        position = self.backbone.positions(self.core.model, batch)
        steps = torch.arange(ids_BT.shape[1], device=self.device)
        said = _answer_positions(_next(position), steps, _axes(position))
        first = batch["input_ids"].shape[1] - 1
        recorder.rows_BN = torch.where(rows_BN >= 0, rows_BN + first, rows_BN)
        recorder.columns_BP = self._columns(batch)
        names = ("input_ids", "attention_mask", *self.backbone.row_inputs)
        rows = with_answer(self.backbone, {name: batch[name] for name in names}, ids_BT, mask_BT)
        with self._looking(each):
            out = self.core.model(
                **rows,
                position_ids=torch.cat([position, said], -1),
                use_cache=False,
                **{k: v for k, v in batch.items() if k not in ROWS},
            )
        return out.last_hidden_state[:, first:]

    def _columns(self, batch: dict[str, Tensor]) -> Tensor:
        """Column numbers of the image tokens of each row, right-padded with -1."""
        found = [row.nonzero()[:, 0] for row in batch["input_ids"] == self.processor.image_id]
        return nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=-1)


def _axes(position: Tensor) -> int:
    return 3 if position.ndim == 3 else 1


def _next(position: Tensor) -> Tensor:
    """Position of the first answer token, the same on all axes, (Q,)."""
    return (position.amax((0, 2)) if position.ndim == 3 else position.amax(1)) + 1


def _answer_positions(next_B: Tensor, steps: Tensor, axes: int) -> Tensor:
    position = next_B[:, None] + steps
    return position if axes == 1 else position.expand(axes, -1, -1)
