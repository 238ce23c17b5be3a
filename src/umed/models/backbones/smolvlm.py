"""SmolVLM and SmolVLM2: Idefics3's tiles and prompt with classes of their own."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from umed.models.backbones import idefics3
from umed.synthetic import tiny


class SmolVLMProcessor(idefics3.Idefics3Processor):
    """Prompt, image view, codec and collation for a SmolVLM folder or hub id."""

    model_type = "smolvlm"

    def load_image_processor(self, path: str) -> Any:
        return SmolVLMImageProcessorPil.from_pretrained(path)


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tokenizer = tiny.build_tokenizer(corpus, idefics3.SPECIAL, tiny.chat_template("<image>"))
    torch.manual_seed(0)
    model = SmolVLMForConditionalGeneration(SmolVLMConfig(**idefics3.settings(tokenizer)))
    pictures = SmolVLMImageProcessorPil(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    tiny.save(folder, model, tokenizer, pictures)


BACKBONE = replace(
    idefics3.BACKBONE,
    model_class=SmolVLMForConditionalGeneration,
    processor_class=SmolVLMProcessor,
    write_tiny=write_tiny,
)
