"""A tiny random Qwen2.5-VL."""

from collections.abc import Iterable
from pathlib import Path

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from umed.synthetic import tiny
from umed.synthetic.tiny_models import qwen3_vl


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tokenizer, hidden, layers, patch = tiny.build_tokenizer(corpus), 64, 2, 14
    text = qwen3_vl.text_settings(tokenizer, hidden, layers)
    del text["head_dim"]
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=qwen3_vl.tower_settings(hidden, layers, patch)
        | {"window_size": 8 * patch, "fullatt_block_indexes": list(range(layers))},
        **qwen3_vl.common_settings(tokenizer, hidden),
    )
    model = tiny.new_model(Qwen2_5_VLForConditionalGeneration, config)
    tiny.save(folder, model, tokenizer, qwen3_vl.image_processor(patch, 112 * 112))
