"""`Backbone`: what a model family's file says of its model, besides the processor."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from umed.models.family import FamilyProcessor


def lora_targets(text_model: str = "language_model", layers: str = r"(q|k|v|o|gate|up|down)_proj") -> str:
    """Pattern of the names of the language model's linear layers."""
    return rf".*{text_model}.*\.{layers}"


def text_positions(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Positions that count the tokens of a left-padded batch from 0, (Q, P)."""
    return (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)


@dataclass(frozen=True)
class Backbone:
    """One model family: its classes, and how its language model is to be called.

    Args:
        tower: modules and weights of the inner model that turn pixels into image tokens.
        lora_targets: pattern of the names of the layers that get a LoRA adapter.
        positions: rotary positions of a collated batch, (Q, P) or (3, Q, P).
        extra_inputs: names among `TOKEN_INPUTS` that the model takes besides ids and mask.
        answer_type: their value on answer tokens.
        prompt_sees_itself: prompt tokens attend to later prompt tokens (prefix language model).
        shares_prefix: gradients can flow through a cache that the answers to one query share.
        caps_logits: its head caps logits by the config's `final_logit_softcapping`.
        hidden_border: the model may not see the outermost pixels (a center crop, or whole tokens cut off).
        no_attention: why the attention on image tokens cannot be read; empty = it can.
    """

    model_class: Any
    processor_class: type[FamilyProcessor]
    tower: tuple[str, ...] = ("vision_tower", "multi_modal_projector")
    lora_targets: str = lora_targets()
    positions: Callable[[Any, dict[str, Tensor]], Tensor] = text_positions
    extra_inputs: tuple[str, ...] = ()
    answer_type: int = 0
    prompt_sees_itself: bool = False
    shares_prefix: bool = True
    caps_logits: bool = False
    hidden_border: bool = False
    no_attention: str = ""
