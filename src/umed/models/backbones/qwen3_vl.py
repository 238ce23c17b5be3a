"""Qwen3-VL: boxes relative to the whole image, 0-1000; one token per 32 x 32 px; absolute positions in the tower."""

from transformers import Qwen3VLForConditionalGeneration

from umed.chat import ImageView
from umed.models.backbones.qwen2_5_vl import Qwen25VLProcessor, positions

MODEL_CLASS = Qwen3VLForConditionalGeneration
__all__ = ["MODEL_CLASS", "Qwen3VLProcessor", "positions"]


class Qwen3VLProcessor(Qwen25VLProcessor):
    """Prompt, image view, codec and collation for a Qwen3-VL folder or hub id."""

    model_type = "qwen3_vl"

    def frame(self, view: ImageView) -> tuple[int, int]:
        return 1000, 1000
