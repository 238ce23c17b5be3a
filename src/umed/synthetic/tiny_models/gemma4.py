"""A tiny random Gemma 4: at most 70 tokens of 14 px; the upper two of four layers use the lower ones' keys."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma4Config, Gemma4ForConditionalGeneration
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from umed.models.backbones.gemma4 import BEGIN, END, IMAGE, OTHERS
from umed.synthetic import tiny

TURN = ("<|turn>", "<turn|>")
MARKERS = {"boi": BEGIN, "eoi": END, "image": IMAGE, "video": "<|video|>", "audio": "<|audio|>", "boa": "<|audio>"}


def write_tiny(folder: str | Path, corpus: Iterable[str], **options: Any) -> None:
    """Write the model.

    Args:
        options: settings of the language model, instead of these.
    """
    tokenizer = tiny.gemma_tokenizer(corpus, IMAGE, *TURN, BEGIN, END, IMAGE, *OTHERS)
    proportional = tiny.ROPE | {"rope_type": "proportional", "partial_rotary_factor": 0.5}
    text = tiny.text_settings(tokenizer, layers=4) | {
        "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 16,  # shorter than the prompt
        "num_kv_shared_layers": 2, "use_double_wide_mlp": True, "global_head_dim": 32,
        "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": len(tokenizer),
        "use_bidirectional_attention": "vision", "final_logit_softcapping": 30.0,
        "rope_parameters": {"sliding_attention": tiny.ROPE, "full_attention": proportional},
    }  # fmt: skip
    heads = {"num_key_value_heads": 4, "head_dim": 8, "pooling_kernel_size": 2, "position_embedding_size": 160}
    vision = tiny.tower_settings(patch=7) | heads
    del vision["image_size"]
    vocabulary = tokenizer.get_vocab()
    ids: dict[str, Any] = {f"{name}_token_id": vocabulary[token] for name, token in MARKERS.items()}
    ids |= {"eoa_token_index": vocabulary["<audio|>"], "initializer_range": text["initializer_range"]}
    config = Gemma4Config(text_config=text | options, vision_config=vision, audio_config=None, **ids)
    model = tiny.new_model(Gemma4ForConditionalGeneration, config)
    torch.nn.init.normal_(model.model.vision_tower.patch_embedder.position_embedding_table)  # all the same when new
    for layer in model.model.language_model.layers:  # nothing else keeps the scores small
        torch.nn.init.constant_(layer.self_attn.q_norm.weight, layer.self_attn.head_dim**-0.5)
    pictures = Gemma4ImageProcessorPil(patch_size=7, pooling_kernel_size=2, max_soft_tokens=70)
    tiny.save(folder, model, tokenizer, pictures)
