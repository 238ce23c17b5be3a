"""A tiny random PaliGemma: pictures of 56 px with 4 x 4 tokens."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from umed.models.backbones.loc_codec import TOKENS
from umed.synthetic import tiny

SPECIAL = ("<pad>", "<bos>", "<eos>", "<image>")


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    """PaliGemma 2, with caps that bite at random weights too."""
    caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 20.0}
    write(folder, corpus, model_type="gemma2", query_pre_attn_scalar=16, sliding_window=512, **caps)


def write(folder: str | Path, corpus: Iterable[str], **text: Any) -> None:
    """Write a model whose language model has these settings."""
    tokenizer = tiny.build_tokenizer(
        corpus, SPECIAL, None, pad="<pad>", eos="<eos>", bos="<bos>", image_token="<image>"
    )
    tokenizer.add_tokens(list(TOKENS))  # not special: an answer's text has them
    settings = tiny.text_settings(tokenizer) | {"rope_parameters": tiny.ROPE} | text
    vision = tiny.tower_settings(hidden=64) | {"model_type": "siglip_vision_model", "vision_use_head": False}
    whole: dict[str, Any] = {
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "vocab_size": len(tokenizer), "projection_dim": 64, "hidden_size": 64,
        "initializer_range": settings["initializer_range"],
    }  # fmt: skip
    config = PaliGemmaConfig(text_config=settings, vision_config=vision, **whole)
    model = tiny.new_model(PaliGemmaForConditionalGeneration, config)
    pictures = SiglipImageProcessorPil(size={"height": tiny.SIDE, "width": tiny.SIDE}, image_seq_length=16)
    tiny.save(folder, model, tokenizer, pictures)
