"""A tiny random Llama-3.2-Vision: tiles of 56 px, up to four; the second of three layers attends to the picture."""

from collections.abc import Iterable
from pathlib import Path

from torch import nn
from transformers import MllamaConfig, MllamaForConditionalGeneration
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

from umed.synthetic import tiny

SPECIAL = ("<|pad|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|image|>")


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    template = tiny.chat_template("<|image|>", start="", end="<|eot_id|>", begin="<|begin_of_text|>")
    tokenizer = tiny.build_tokenizer(
        corpus, SPECIAL, template, pad="<|pad|>", eos="<|end_of_text|>", bos="<|begin_of_text|>"
    )
    own = {"cross_attention_layers": [1], "rope_parameters": tiny.ROPE, "tie_word_embeddings": False}
    text = tiny.text_settings(tokenizer, layers=3) | own
    del text["head_dim"]
    vision = tiny.tower_settings() | {
        "num_global_layers": 1, "attention_heads": 4, "vision_output_dim": 64, "intermediate_layers_indices": [0],
        "max_num_tiles": 4,
    }  # fmt: skip
    del vision["num_attention_heads"]
    config = MllamaConfig(text_config=text, vision_config=vision, image_token_index=tokenizer.get_vocab()["<|image|>"])
    model = tiny.new_model(MllamaForConditionalGeneration, config)
    for name, weight in model.named_parameters():
        if "gate" in name and weight.numel() <= 2:  # closed in a new model: it would not see its picture
            nn.init.constant_(weight, text["initializer_range"] + 1)
    pictures = MllamaImageProcessorPil(size={"height": tiny.SIDE, "width": tiny.SIDE}, max_image_tiles=4)
    tiny.save(folder, model, tokenizer, pictures)
