"""A tiny random SmolVLM."""

from collections.abc import Iterable
from pathlib import Path

from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from umed.synthetic.tiny_models import idefics3


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    idefics3.write(folder, corpus, SmolVLMForConditionalGeneration, SmolVLMConfig, SmolVLMImageProcessorPil)
