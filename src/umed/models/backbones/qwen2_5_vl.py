"""Qwen2.5-VL: absolute pixels of the processor-resized image, one token per 28 x 28 px, multimodal rotary positions."""

from dataclasses import replace
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from umed.chat import Grid, ImageView
from umed.errors import check_positive
from umed.models.backbone import Backbone
from umed.models.backbones.json_codec import JsonCodec
from umed.models.codec import BoxCodec
from umed.models.family import EncodedPicture, FamilyProcessor


class Qwen25VLProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a Qwen2.5-VL folder or hub id.

    Args:
        min_pixels, max_pixels: area budget of the resized image, None = the checkpoint's own.
        step: coordinates are written as multiples of it.
    """

    model_type = "qwen2_5_vl"
    image_processor_class = Qwen2VLImageProcessorPil
    default_codec: JsonCodec = JsonCodec()
    image_token = marker = "<|image_pad|>"
    suppressed = ("<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    token_types_name = "mm_token_type_ids"

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
        super().__init__(path, max_prompt_tokens, codec or replace(self.default_codec, step=step))
        size = dict(self.image_processor.size)
        size["shortest_edge"] = min_pixels or size["shortest_edge"]
        size["longest_edge"] = max_pixels or size["longest_edge"]
        self.image_processor.size = size

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        encoded = self.image_processor(images=[image], return_tensors="pt")
        _, grid_h, grid_w = encoded["image_grid_thw"][0].tolist()
        patch, merge = self.image_processor.patch_size, self.image_processor.merge_size
        grid = Grid(grid_h // merge, grid_w // merge)
        view = ImageView(image.width, image.height, grid_w * patch, grid_h * patch, (grid,))
        tensors = {name: encoded[name] for name in ("pixel_values", "image_grid_thw")}
        return EncodedPicture(view, tensors, self.image_token * grid.tokens)

    def advise(self, room: int) -> str:
        side = self.image_processor.patch_size * self.image_processor.merge_size
        return f"set model.processor.max_pixels={room * side**2} or less"


def positions(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Multimodal rotary positions of a collated batch, (3, Q, P)."""
    keys = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    return model.get_rope_index(**{k: batch[k] for k in keys})[0]


BACKBONE = Backbone(
    model_class=Qwen2_5_VLForConditionalGeneration,
    processor_class=Qwen25VLProcessor,
    tower=("visual",),
    positions=positions,
)
