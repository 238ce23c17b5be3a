"""Prompts of different lengths as one batch, and answers appended to it."""

from collections.abc import Container, Sequence

import torch
from torch import Tensor

from umed.chat import Prompt

# inputs with one entry per prompt token; all others are pictures
TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "cross_attention_mask")


def picture_inputs(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if name not in TOKEN_INPUTS}


def token_inputs(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if name in TOKEN_INPUTS}


def collate(prompts: Sequence[Prompt], pad_id: int, tiled: Container[str] = ()) -> dict[str, Tensor]:
    """Left-padded token inputs (Q, P, ...); picture inputs concatenated in the order of the prompts.

    Args:
        tiled: picture inputs (1, tiles, ...): where prompts have different numbers of tiles, empty ones are added,
            which the model drops.
    """
    width = max(len(p.inputs["input_ids"]) for p in prompts)
    batch = {}
    for name in prompts[0].inputs:
        parts = [p.inputs[name] for p in prompts]
        if name in TOKEN_INPUTS:
            fill = pad_id if name == "input_ids" else 0
            parts = [torch.cat([t.new_full((width - len(t), *t.shape[1:]), fill), t])[None] for t in parts]
        elif name in tiled:
            most = max(t.shape[1] for t in parts)
            parts = [torch.cat([t, t.new_zeros(1, most - t.shape[1], *t.shape[2:])], 1) for t in parts]
        batch[name] = torch.cat(parts)
    return batch


def append_answers(
    prompts: dict[str, Tensor], ids_BT: Tensor, mask_BT: Tensor, token_type: int = 0
) -> dict[str, Tensor]:
    """Token inputs of prompts, (B, P, ...) each, with those of their answers behind.

    Args:
        token_type: of answer tokens; inputs with several numbers per token repeat the prompt's last ones.
    """
    longer = {}
    for name, value in prompts.items():
        if name == "input_ids":
            answers = ids_BT
        elif name == "attention_mask":
            answers = mask_BT.to(value.dtype)
        elif value.ndim > 2:
            answers = value[:, -1:].expand(-1, ids_BT.shape[1], *value.shape[2:])
        else:
            answers = torch.full_like(ids_BT, token_type)
        longer[name] = torch.cat([value, answers], 1)
    return longer
