"""A tiny random MedVInT-TD: pictures of 128 px as 8 x 8 patches, behind 8 query tokens."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig

from umed.models.medvint import (
    MedVInTConfig,
    MedVInTForConditionalGeneration,
    MedVInTImageProcessor,
    MedVInTProcessor,
)
from umed.synthetic import tiny

SIDE = 128
SPECIAL = ("<unk>", "<s>", "</s>", "<image>")


def write_tiny(folder: str | Path, corpus: Iterable[str], **settings: Any) -> None:
    """Write the model and its processor.

    Args:
        settings: of `MedVInTConfig`, instead of the tiny ones.
    """
    words = [*corpus, "Question", ": ", "The Answer is", "Choices"]
    # LLaMA's ids: <unk> 0, <s> 1, </s> 2; <image> comes last and has no row in the embedding
    tokenizer = tiny.build_tokenizer(words, SPECIAL[:3], None, pad="<unk>", eos="</s>", bos="<s>")
    vocabulary = len(tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<image>"]})
    text = tiny.text_settings(tokenizer) | {"vocab_size": vocabulary}
    config = MedVInTConfig(**{**small(), "image_token_id": vocabulary, "text_config": LlamaConfig(**text), **settings})
    model = tiny.new_model(MedVInTForConditionalGeneration, config)
    randomize(model)
    model.generation_config = GenerationConfig(eos_token_id=[1, 2], pad_token_id=0)
    model.save_pretrained(folder)
    size = {"height": config.image_size, "width": config.image_size}
    MedVInTProcessor(MedVInTImageProcessor(size=size), tokenizer, config.image_tokens).save_pretrained(folder)


def small() -> dict[str, Any]:
    """Settings of `MedVInTConfig` besides its language model."""
    return {
        "image_size": SIDE,
        "vision_layers": (1, 1, 1),
        "vision_width": 4,
        "num_queries": 8,
        "decoder_layers": 2,
        "decoder_heads": 4,
        "decoder_ffn": 64,
        "initializer_range": 0.125,
    }


@torch.no_grad()
def randomize(model: Any) -> None:
    """Weights with which answers depend on the picture and on every tensor, which they hardly do in a new model.

    Convolutions keep the size of what goes through them, queries attend to few patches, and what they see outweighs
    what they are; normalizations normalize.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if "running_var" in name:
            tensor.uniform_(0.5, 1.5)
        elif "running_mean" in name or (name.endswith("bias") and tensor.is_floating_point()):
            tensor.normal_(0, 0.1)
        elif tensor.ndim == 4:
            tensor.normal_(0, (3 / tensor[0].numel()) ** 0.5)
        elif "cross_attn" in name:
            tensor.mul_(2)
        elif tensor.is_floating_point() and any(part in name for part in ("norm", ".bn", "downsample.1")):
            tensor.uniform_(0.8, 1.2)
