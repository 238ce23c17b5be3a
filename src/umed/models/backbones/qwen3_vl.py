"""Qwen3-VL: boxes relative to the whole image, 0-1000; one token per 32 x 32 px; absolute positions in the tower."""

from dataclasses import replace

from transformers import Qwen3VLForConditionalGeneration

from umed.models.backbones import qwen2_5_vl
from umed.models.backbones.json_codec import JsonCodec


class Qwen3VLProcessor(qwen2_5_vl.Qwen25VLProcessor):
    """Prompt, image view, codec and collation for a Qwen3-VL folder or hub id."""

    model_type = "qwen3_vl"
    default_codec = JsonCodec(scale=1000)


BACKBONE = replace(qwen2_5_vl.BACKBONE, model_class=Qwen3VLForConditionalGeneration, processor_class=Qwen3VLProcessor)
