"""A checkpoint folder of any size: random weights, a tokenizer of made-up words, an image processor."""

from collections.abc import Iterator
from itertools import count, islice, product
from pathlib import Path

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from umed.bench.shapes import Shape
from umed.synthetic import tiny
from umed.synthetic.tiny_models import qwen3_vl

PATCH = 14  # pixels; four of them, 28 x 28, make one image token
POSITIONS = 8192


def write_checkpoint(shape: Shape, folder: Path, seed: int = 0) -> int:
    """Write the model of a shape; the number of its weights."""
    base = len(tiny.build_tokenizer([]))
    tokenizer = tiny.build_tokenizer(islice(made_up_words(), shape.vocabulary - base))
    common = qwen3_vl.common_settings(tokenizer, shape.hidden)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": shape.hidden**-0.5,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": _rotary_sections(shape)},
    }
    tower = {
        "depth": shape.tower_layers,
        "hidden_size": shape.tower_hidden,
        "intermediate_size": shape.tower_intermediate,
        "num_heads": shape.tower_heads,
        "out_hidden_size": shape.hidden,
        "patch_size": PATCH,
        "initializer_range": shape.tower_hidden**-0.5,
        "window_size": 8 * PATCH,
        "fullatt_block_indexes": list(range(3, shape.tower_layers, 4)),  # as Qwen2.5-VL has it, relative to its depth
    }
    config = Qwen2_5_VLConfig(text_config=settings, vision_config=tower, **common)
    model = tiny.new_model(Qwen2_5_VLForConditionalGeneration, config, seed).to(getattr(torch, shape.dtype))
    tiny.save(folder, model, tokenizer, qwen3_vl.image_processor(PATCH, shape.image_tokens * (2 * PATCH) ** 2))
    return sum(p.numel() for p in model.parameters())


def made_up_words() -> Iterator[str]:
    """Words that are one token each where a blank stands before them: ` bab`, ` bac` ..."""
    for length in count(1):
        for syllables in product(*([[c + v for c in "bdfgklmnprst" for v in "aeiou"]] * length)):
            yield f" {''.join(syllables)}"


def _rotary_sections(shape: Shape) -> list[int]:
    """Rotary pairs of a head for time, height and width, shared out as in Qwen2.5-VL: 16, 24 and 24 of 64."""
    pairs = shape.hidden // shape.heads // 2
    side = 3 * pairs // 8
    return [pairs - 2 * side, side, side]
