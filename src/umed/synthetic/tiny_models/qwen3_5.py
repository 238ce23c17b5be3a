"""A tiny random Qwen3.5: one layer of linear attention and one of full attention."""

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

from umed.synthetic import tiny
from umed.synthetic.tiny_models import qwen3_vl


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tokenizer, hidden, patch = tiny.build_tokenizer(corpus), 64, 14
    text = tiny.text_settings(tokenizer, hidden) | {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "rope_parameters": {**tiny.ROPE, "mrope_section": [4, 2, 2], "partial_rotary_factor": 1.0},
        "initializer_range": 0.06,  # a linear layer rounds differently step by step than in chunks
    }  # fmt: skip
    sizes = {"intermediate_size": 2 * hidden, "num_position_embeddings": 64}
    vision = qwen3_vl.tower_settings(hidden, 2, patch) | sizes
    settings = qwen3_vl.common_settings(tokenizer, hidden) | {"tie_word_embeddings": False}
    del settings["initializer_range"]
    model = tiny.new_model(
        Qwen3_5ForConditionalGeneration, Qwen3_5Config(text_config=text, vision_config=vision, **settings)
    )
    # a new layer forgets within a token: here the picture is still in its state when the answer ends
    torch.nn.init.uniform_(model.model.language_model.layers[0].linear_attn.A_log, -5, -3)
    tiny.save(folder, model, tokenizer, qwen3_vl.image_processor(patch, 112 * 112))
