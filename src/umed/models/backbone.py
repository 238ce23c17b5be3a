"""`Backbone`: what a model family's file says of its model, besides the processor."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from umed.models.family import FamilyProcessor

EVERY_PROJECTION = r"(q|k|v|o|gate|up|down)_proj"


def text_positions(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Positions that count the tokens of a left-padded batch, (Q, P)."""
    return (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)


@dataclass(frozen=True)
class Backbone:
    """One model family: its classes, and how its language model wants to be read.

    Args:
        write_tiny: writes a random tiny model with tokenizer and image processor to a folder, offline.
        tower: modules and weights of the inner model that turn pixels into image tokens.
        lora_targets: pattern of the language model's projections.
        positions: rotary positions of a collated batch, (Q, P) or (3, Q, P).
        row_inputs: names among `ROWS` that the model wants beside ids and mask.
        answer_type: their value on answer tokens; several numbers a token go on as on the prompt's last one.
        prompt_sees_itself: prompt tokens attend to later prompt tokens (prefix language model).
        shares_prefix: the answers to one query can go on from one reading of the prompt, with gradients.
        caps_logits: its head squashes logits by the config's `final_logit_softcapping`.
        hidden_border: the model may not see the outermost pixels (a center crop, or whole tokens cut off).
        no_attention: why the attention on image tokens cannot be read; empty = it can.
    """

    model_class: Any
    processor_class: type[FamilyProcessor]
    write_tiny: Callable[[str | Path, Iterable[str]], None]
    tower: tuple[str, ...]
    lora_targets: str
    positions: Callable[[Any, dict[str, Tensor]], Tensor] = text_positions
    row_inputs: tuple[str, ...] = ()
    answer_type: int = 0
    prompt_sees_itself: bool = False
    shares_prefix: bool = True
    caps_logits: bool = False
    hidden_border: bool = False
    no_attention: str = ""


def with_answer(backbone: Backbone, rows: dict[str, Tensor], ids_BT: Tensor, mask_BT: Tensor) -> dict[str, Tensor]:
    """Rows of prompts, (B, P, ...) each, with their answers behind."""
    longer = {}
    for name, value in rows.items():
        if name == "input_ids":
            after = ids_BT
        elif name == "attention_mask":
            after = mask_BT.to(value.dtype)
        elif value.ndim > 2:
            after = value[:, -1:].expand(-1, ids_BT.shape[1], *value.shape[2:])
        else:
            after = torch.full_like(ids_BT, backbone.answer_type)
        longer[name] = torch.cat([value, after], 1)
    return longer
