"""Qwen3.5: Qwen3-VL's pictures, prompt and boxes before a language model most of whose layers are linear attention."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from umed.models.backbones import qwen3_vl
from umed.synthetic import tiny


class Qwen35Processor(qwen3_vl.Qwen3VLProcessor):
    """Prompt, image view, codec and collation for a Qwen3.5 folder or hub id."""

    model_type = "qwen3_5"


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    """One layer of linear attention and one of full attention."""
    tokenizer, hidden = tiny.build_tokenizer(corpus), 64
    rope = {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [4, 2, 2], "partial_rotary_factor": 1.0}
    text = tiny.text_settings(tokenizer, hidden) | {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "rope_parameters": rope,
        "initializer_range": 0.06,  # a linear layer rounds otherwise step by step than in chunks
    }
    vision = {
        "depth": 2,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_heads": 4,
        "out_hidden_size": hidden,
        "patch_size": 14,
        "num_position_embeddings": 64,
        "initializer_range": hidden**-0.5,
    }
    ids: dict[str, Any] = {n: tokenizer.get_vocab()[f"<|{t}|>"] for n, t in tiny.MARKERS.items()}
    config = Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=False, **ids)
    torch.manual_seed(0)
    model = Qwen3_5ForConditionalGeneration(config)
    # a new layer forgets within a token: here the picture is still in its state when the answer ends
    torch.nn.init.uniform_(model.model.language_model.layers[0].linear_attn.A_log, -5, -3)
    pictures = Qwen2VLImageProcessorPil(patch_size=14, min_pixels=56 * 56, max_pixels=112 * 112)
    tiny.save(folder, model, tokenizer, pictures)


BACKBONE = replace(
    qwen3_vl.BACKBONE,
    model_class=Qwen3_5ForConditionalGeneration,
    processor_class=Qwen35Processor,
    write_tiny=write_tiny,
    shares_prefix=False,  # linear attention writes its states in place, which gradients cannot follow
    lora_targets=r".*language_model.*\.((q|k|v|o|gate|up|down)_proj|in_proj_(qkv|z)|out_proj)",
)
