"""Gemma 3 and MedGemma: one square picture whose tokens see each other; boxes as y, x JSON, 0-1000."""

from typing import Any

from PIL import Image, ImageOps
from transformers import Gemma3ForConditionalGeneration
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from umed.chat import Grid, ImageView
from umed.models.backbone import Backbone
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import EncodedPicture, FamilyProcessor

BEGIN, END, IMAGE = "<start_of_image>", "<end_of_image>", "<image_soft_token>"


class Gemma3Processor(FamilyProcessor):
    """Prompt, image view, codec and collation for a Gemma 3 or MedGemma folder or hub id; no pan and scan.

    Args:
        pad: a picture becomes square by black borders, as MedGemma 1.5's boxes expect it, not by a squeeze (Gemma 3).
    """

    model_type = "gemma3"
    image_processor_class = Gemma3ImageProcessorPil
    default_codec = JsonCodec("box_2d", scale=1000, rows_first=True)
    image_token = IMAGE
    marker = BEGIN
    suppressed = (BEGIN, END)
    ends = ("<end_of_turn>",)
    token_types_name = "token_type_ids"

    def __init__(self, path: str, pad: bool = False, **shared: Any) -> None:
        super().__init__(path, **shared)
        self.pad = pad
        self.side = int(self.config.mm_tokens_per_image**0.5)

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        square, frame = image, (0.0, 0.0, 1.0, 1.0)
        if self.pad:
            (width, height), side = image.size, max(image.size)
            left, top = (side - width) // 2, (side - height) // 2
            square = ImageOps.expand(image, (left, top, side - width - left, side - height - top))
            frame = (-left / width, -top / height, (side - left) / width, (side - top) / height)
        pixels = self.image_processor(images=[square], return_tensors="pt", do_pan_and_scan=False)["pixel_values"]
        seen_height, seen_width = pixels.shape[-2:]
        grid = Grid(self.side, self.side, *frame)
        view = ImageView(image.width, image.height, seen_width, seen_height, (grid,), frame)
        return EncodedPicture(view, {"pixel_values": pixels}, f"\n\n{BEGIN}{IMAGE * view.tokens}{END}\n\n")


BACKBONE = Backbone(
    model_class=Gemma3ForConditionalGeneration,
    processor_class=Gemma3Processor,
    extra_inputs=("token_type_ids",),
)
