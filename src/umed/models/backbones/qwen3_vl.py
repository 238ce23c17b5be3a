"""Qwen3-VL: boxes relative to the whole image, 0-1000; one token per 32 x 32 px; absolute positions in the tower."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from transformers import Qwen3VLForConditionalGeneration

from umed.models.backbones import qwen2_5_vl
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import BoxCodec
from umed.synthetic import tiny


class Qwen3VLProcessor(qwen2_5_vl.Qwen25VLProcessor):
    """Prompt, image view, codec and collation for a Qwen3-VL folder or hub id."""

    model_type = "qwen3_vl"

    def default_codec(self) -> BoxCodec:
        return JsonCodec(step=self.step, scale=1000)


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tiny.build(folder, corpus, family="qwen3_vl", hidden=64, layers=2, vision_layers=2, patch=14, max_pixels=112 * 112)


BACKBONE = replace(
    qwen2_5_vl.BACKBONE,
    model_class=Qwen3VLForConditionalGeneration,
    processor_class=Qwen3VLProcessor,
    write_tiny=write_tiny,
)
