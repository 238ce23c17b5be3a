"""A tiny random LLaVA: pictures of 56 px with 4 x 4 tokens."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from umed.synthetic import tiny

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
SIZES: dict[str, Any] = {"size": {"shortest_edge": tiny.SIDE}, "crop_size": {"height": tiny.SIDE, "width": tiny.SIDE}}


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tokenizer = tiny.build_tokenizer(corpus, SPECIAL, tiny.chat_template("<image>\n"))
    config = LlavaConfig(
        vision_config=clip_tower(),
        text_config=LlamaConfig(**tiny.text_settings(tokenizer)),
        image_token_index=tokenizer.get_vocab()["<image>"],
        image_seq_length=16,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    model = tiny.new_model(LlavaForConditionalGeneration, config)
    tiny.save(folder, model, tokenizer, LlavaImageProcessorPil(**SIZES))


def clip_tower() -> CLIPVisionConfig:
    return CLIPVisionConfig(**tiny.tower_settings(), projection_dim=32)
