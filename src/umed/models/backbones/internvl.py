"""InternVL: tiles of one size and a thumbnail behind them; boxes relative to the whole image, 0-1000, in tags."""

from typing import Any

from PIL import Image
from transformers import InternVLForConditionalGeneration
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)

from umed.chat import Grid, ImageView
from umed.errors import check_positive
from umed.models.backbone import Backbone
from umed.models.backbones.ref_box_codec import TAGS, RefBoxCodec
from umed.models.family import EncodedPicture, FamilyProcessor


class InternVLProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for an InternVL folder or hub id in transformers' format (`-hf`).

    Args:
        max_patches: a picture, also a small one, is cut into so many tiles at most; None = the checkpoint's own (12).
    """

    model_type = "internvl"
    image_processor_class = GotOcr2ImageProcessorPil
    default_codec = RefBoxCodec()
    image_token = marker = "<IMG_CONTEXT>"
    suppressed = ("<img>", "</img>", "<video>")
    visible = TAGS

    def __init__(self, path: str, max_patches: int | None = None, **shared: Any) -> None:
        check_positive("model.processor.max_patches", max_patches)
        super().__init__(path, **shared)
        self.image_processor.max_patches = max_patches or self.image_processor.max_patches
        # as transformers' processor of the family does, whatever the checkpoint's file says
        self.image_processor.crop_to_patches = True

    @property
    def side(self) -> int:
        """Token rows, and columns, of a tile."""
        height, patch = self.image_processor.size["height"], self.config.vision_config.patch_size[0]
        return int(height // patch * self.config.downsample_ratio)

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        processor = self.image_processor
        height, width = processor.size["height"], processor.size["width"]
        limits = processor.min_patches, processor.max_patches
        columns, rows = get_optimal_tiled_canvas((image.height, image.width), (height, width), *limits)
        thumbnail = (Grid(self.side, self.side, scale=1),) if rows * columns > 1 else ()
        grids = (*Grid.tiles(rows, columns, self.side), *thumbnail)
        view = ImageView(image.width, image.height, columns * width, rows * height, grids)
        pixels = processor(images=[image], return_tensors="pt")["pixel_values"]
        return EncodedPicture(view, {"pixel_values": pixels}, f"<img>{self.image_token * view.tokens}</img>")

    def advise(self, room: int) -> str:
        tiles = room // self.side**2
        return f"set model.processor.max_patches={max(tiles - 1, 1)} or less" if tiles else ""


BACKBONE = Backbone(model_class=InternVLForConditionalGeneration, processor_class=InternVLProcessor)
