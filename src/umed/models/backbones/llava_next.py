"""LLaVA-NeXT (LLaVA-1.6): the picture squashed first, then its tiles as one grid whose rows end in a token."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import LlavaNextForConditionalGeneration
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution
from transformers.image_utils import ChannelDimension
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import unpad_image

from umed.chat import Grid, ImageView
from umed.errors import check_positive
from umed.models.backbone import Backbone
from umed.models.backbones.float_codec import FloatCodec
from umed.models.family import EncodedPicture, FamilyProcessor


class LlavaNextProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a LLaVA-NeXT folder or hub id in transformers' format.

    Boxes are fractions of the whole image. The family drops padding in whole tokens, and with it up to half a token of
    the picture on either side of the high resolution; the squashed picture shows everything.

    Args:
        longest_edge: a picture with a longer side is made smaller first, so that it needs fewer tiles; None = never.
    """

    model_type = "llava_next"
    image_processor_class = LlavaNextImageProcessorPil
    default_codec = FloatCodec()
    image_token = marker = "<image>"

    def __init__(self, path: str, longest_edge: int | None = None, **shared: Any) -> None:
        check_positive("model.processor.longest_edge", longest_edge)
        super().__init__(path, **shared)
        self.longest_edge = longest_edge
        self.tile: int = self.config.vision_config.image_size
        self.side: int = self.tile // self.config.vision_config.patch_size
        # the model cuts by its config: the two must agree
        self.layouts: list[list[int]] = self.config.image_grid_pinpoints
        self.image_processor.image_grid_pinpoints = self.layouts

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        small = image.convert("RGB")
        if self.longest_edge:
            small.thumbnail((self.longest_edge, self.longest_edge))
        height, width, grid = self._high_resolution(small.height, small.width)
        view = ImageView(image.width, image.height, width, height, (Grid(self.side, self.side), grid))
        encoded = self.image_processor(images=[small], return_tensors="pt")
        inputs = {"pixel_values": encoded["pixel_values"][0], "image_sizes": encoded["image_sizes"]}
        return EncodedPicture(view, inputs, self.image_token * view.tokens)

    def _high_resolution(self, height: int, width: int) -> tuple[int, int, Grid]:
        """Height and width in high resolution, and the grid of its tokens, as the model will cut it."""
        canvas = select_best_resolution((height, width), self.layouts)
        pixels = np.broadcast_to(np.uint8(0), (3, height, width))
        high, wide = get_patch_output_size(pixels, canvas, ChannelDimension.FIRST)
        rows, columns = (n // self.tile * self.side for n in canvas)
        kept = unpad_image(torch.arange(rows * columns).view(1, rows, columns), (height, width))[0]
        if not kept.numel():
            raise ValueError("so thin that no token is left of it")
        top, left = divmod(int(kept[0, 0]), columns)
        patch, (rows, columns) = self.tile / self.side, kept.shape
        x0, y0 = left * patch - (canvas[1] - wide) // 2, top * patch - (canvas[0] - high) // 2
        x1, y1 = x0 + columns * patch, y0 + rows * patch
        return high, wide, Grid(rows, columns, x0 / wide, y0 / high, x1 / wide, y1 / high, newline=True, scale=1)

    def advise(self, room: int) -> str:
        """A picture within one tile takes the smallest layout, whatever its shape."""
        least = min(h * w for h, w in self.layouts)
        sides = [(h // self.tile * self.side, w // self.tile * self.side) for h, w in self.layouts if h * w == least]
        most = self.side**2 + max(rows * (columns + 1) for rows, columns in sides)
        return f"set model.processor.longest_edge={self.tile} or less" if most <= room else ""


BACKBONE = Backbone(
    model_class=LlavaNextForConditionalGeneration,
    processor_class=LlavaNextProcessor,
    tower=("vision_tower", "multi_modal_projector", "image_newline"),
    hidden_border=True,
)
