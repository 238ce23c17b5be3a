"""A tiny random Idefics3: tiles of 56 px with 2 x 2 tokens."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import Idefics3Config, Idefics3ForConditionalGeneration
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from umed.models.backbones.idefics3 import FAKE, GLOBAL, PLACES
from umed.synthetic import tiny

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<end_of_utterance>", FAKE, "<image>", GLOBAL, *PLACES)


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    write(folder, corpus, Idefics3ForConditionalGeneration, Idefics3Config, Idefics3ImageProcessorPil)


def write(folder: str | Path, corpus: Iterable[str], model: Any, config: Any, image_processor: Any) -> None:
    """Write a model of the given classes."""
    tokenizer = tiny.build_tokenizer(corpus, SPECIAL, tiny.chat_template("<image>"))
    settings = config(
        text_config=tiny.text_settings(tokenizer) | {"model_type": "llama"},
        vision_config=tiny.tower_settings(),
        scale_factor=2,
        image_token_id=tokenizer.get_vocab()["<image>"],
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    pictures = image_processor(size={"longest_edge": 2 * tiny.SIDE}, max_image_size={"longest_edge": tiny.SIDE})
    tiny.save(folder, tiny.new_model(model, settings), tokenizer, pictures)
