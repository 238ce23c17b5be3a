"""A tiny random LLaVA-NeXT: tiles of 56 px with 4 x 4 tokens, in the family's five layouts."""

from collections.abc import Iterable
from pathlib import Path

from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from umed.synthetic import tiny
from umed.synthetic.tiny_models.llava import SIZES, SPECIAL, clip_tower

LAYOUTS = [[tiny.SIDE * rows, tiny.SIDE * columns] for rows, columns in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))]


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tokenizer = tiny.build_tokenizer(corpus, SPECIAL, tiny.chat_template("<image>\n"))
    config = LlavaNextConfig(
        vision_config=clip_tower(),
        text_config=tiny.text_settings(tokenizer) | {"model_type": "mistral", "sliding_window": None},
        image_token_index=tokenizer.get_vocab()["<image>"],
        image_grid_pinpoints=LAYOUTS,
        tie_word_embeddings=False,
    )
    model = tiny.new_model(LlavaNextForConditionalGeneration, config)
    tiny.save(folder, model, tokenizer, LlavaNextImageProcessorPil(**SIZES, image_grid_pinpoints=LAYOUTS))
