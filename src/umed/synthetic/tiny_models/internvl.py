"""A tiny random InternVL: tiles of 56 px with 2 x 2 tokens, up to four of them and a thumbnail."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import InternVLConfig, InternVLForConditionalGeneration
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from umed.models.backbones.ref_box_codec import TAGS
from umed.synthetic import tiny

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>", *TAGS)

NAMES: dict[str, Any] = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tokenizer = tiny.build_tokenizer(corpus, SPECIAL, tiny.chat_template("<IMG_CONTEXT>\n"), **NAMES)
    qwen2 = {"model_type": "qwen2", "tie_word_embeddings": True, "rope_parameters": tiny.ROPE}
    text = tiny.text_settings(tokenizer) | qwen2
    del text["head_dim"]
    spread, image_id = text["initializer_range"], tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    vision = tiny.tower_settings(hidden=64) | {"layer_scale_init_value": 1.0}
    whole: dict[str, Any] = {"image_token_id": image_id, "image_seq_length": 4, "tie_word_embeddings": True}
    whole |= {"text_config": text, "vision_config": vision, "initializer_range": spread}
    config = InternVLConfig(**whole)
    model = tiny.new_model(InternVLForConditionalGeneration, config)
    places = model.model.vision_tower.embeddings
    for weight in (places.position_embeddings, places.cls_token):  # zero in a new model
        nn.init.normal_(weight, std=spread)
    size = {"height": tiny.SIDE, "width": tiny.SIDE}
    tiny.save(folder, model, tokenizer, GotOcr2ImageProcessorPil(size=size, max_patches=4))
