"""A tiny random Gemma 3: 8 x 8 patches pooled to 4 x 4 tokens; a window shorter than the prompt."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from umed.models.backbones.gemma3 import BEGIN, END, IMAGE
from umed.synthetic import tiny

TURN = ("<start_of_turn>", "<end_of_turn>")


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tokenizer = tiny.gemma_tokenizer(corpus, BEGIN, *TURN, BEGIN, END, IMAGE)
    text = tiny.text_settings(tokenizer) | {
        "query_pre_attn_scalar": 16,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": tiny.ROPE, "full_attention": tiny.ROPE},
    }
    vision = tiny.tower_settings(patch=7) | {"model_type": "siglip_vision_model", "vision_use_head": False}
    ids = tokenizer.get_vocab()
    indices = {"boi_token_index": ids[BEGIN], "eoi_token_index": ids[END], "image_token_index": ids[IMAGE]}
    whole: dict[str, Any] = {"mm_tokens_per_image": 16, "initializer_range": text["initializer_range"], **indices}
    config = Gemma3Config(text_config=text, vision_config=vision, **whole)
    model = tiny.new_model(Gemma3ForConditionalGeneration, config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=32**-0.5)  # zero when new
    size = {"height": tiny.SIDE, "width": tiny.SIDE}
    tiny.save(folder, model, tokenizer, Gemma3ImageProcessorPil(size=size))
