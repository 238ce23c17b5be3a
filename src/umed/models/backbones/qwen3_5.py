"""Qwen3.5: Qwen3-VL's pictures, prompt and boxes before a language model most of whose layers are linear attention."""

from dataclasses import replace

from transformers import Qwen3_5ForConditionalGeneration

from umed.models.backbone import lora_targets
from umed.models.backbones import qwen3_vl


class Qwen35Processor(qwen3_vl.Qwen3VLProcessor):
    """Prompt, image view, codec and collation for a Qwen3.5 folder or hub id."""

    model_type = "qwen3_5"


BACKBONE = replace(
    qwen3_vl.BACKBONE,
    model_class=Qwen3_5ForConditionalGeneration,
    processor_class=Qwen35Processor,
    shares_prefix=False,  # linear attention writes its states in place, which gradients cannot follow
    lora_targets=lora_targets(layers=r"((q|k|v|o|gate|up|down)_proj|in_proj_(qkv|z)|out_proj)"),
)
