"""Qwen2.5-VL: absolute pixels of the processor-resized image, one token per 28 x 28 px, multimodal rotary positions."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from umed.chat import Grid, ImageView
from umed.errors import check_positive
from umed.models.backbone import EVERY_PROJECTION, Backbone
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import BoxCodec, FamilyProcessor, Look
from umed.synthetic import tiny


class Qwen25VLProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a Qwen2.5-VL folder or hub id.

    Args:
        min_pixels, max_pixels: area budget of the resized image, None = the checkpoint's own.
        step: coordinates are written as multiples of it.
    """

    model_type = "qwen2_5_vl"
    image_token = marker = "<|image_pad|>"
    suppressed = ("<|video_pad|>", "<|vision_start|>", "<|vision_end|>")

    def __init__(
        self,
        path: str,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
        max_prompt_tokens: int = 4096,
        step: int = 1,
        codec: BoxCodec | None = None,
    ) -> None:
        for option, value in {"min_pixels": min_pixels, "max_pixels": max_pixels, "step": step}.items():
            check_positive(f"model.processor.{option}", value)
        self.step = step
        super().__init__(path, max_prompt_tokens, codec)
        size = dict(self.image_processor.size)
        size["shortest_edge"] = min_pixels or size["shortest_edge"]
        size["longest_edge"] = max_pixels or size["longest_edge"]
        self.image_processor.size = size

    def load_image_processor(self, path: str) -> Any:
        return Qwen2VLImageProcessorPil.from_pretrained(path)

    def default_codec(self) -> BoxCodec:
        return JsonCodec(step=self.step)

    def look(self, image: Image.Image) -> Look:
        features = self.image_processor(images=[image], return_tensors="pt")
        _, grid_h, grid_w = features["image_grid_thw"][0].tolist()
        patch, merge = self.image_processor.patch_size, self.image_processor.merge_size
        grid = Grid(grid_h // merge, grid_w // merge)
        view = ImageView(image.width, image.height, grid_w * patch, grid_h * patch, (grid,))
        inputs = {name: features[name] for name in ("pixel_values", "image_grid_thw")}
        return Look(view, inputs, self.image_token * grid.tokens)

    def token_types(self, ids: Tensor, look: Look) -> dict[str, Tensor]:
        return {"mm_token_type_ids": (ids == self.image_id).long()}

    def smaller(self, room: int) -> str:
        side = self.image_processor.patch_size * self.image_processor.merge_size
        return f"set model.processor.max_pixels={room * side**2} or less"


def positions(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Multimodal rotary positions of a collated batch, (3, Q, P)."""
    keys = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    return model.get_rope_index(**{k: batch[k] for k in keys})[0]


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tiny.build(
        folder, corpus, family="qwen2_5_vl", hidden=64, layers=2, vision_layers=2, patch=14, max_pixels=112 * 112
    )


BACKBONE = Backbone(
    model_class=Qwen2_5_VLForConditionalGeneration,
    processor_class=Qwen25VLProcessor,
    write_tiny=write_tiny,
    tower=("visual",),
    lora_targets=rf".*language_model.*\.{EVERY_PROJECTION}",
    positions=positions,
)
