"""LLaVA-1.5 and its line (LLaVA-Med): a square tower, one raster grid, boxes as fractions of the padded square."""

from typing import Any

from PIL import Image
from transformers import LlavaForConditionalGeneration
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from umed.chat import Grid, ImageView
from umed.errors import check_choice
from umed.models.backbone import Backbone
from umed.models.backbones.float_codec import FloatCodec
from umed.models.family import EncodedPicture, FamilyProcessor


class LlavaProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a LLaVA folder or hub id in transformers' format.

    Args:
        fit: how a picture becomes square. `pad` with the mean color, as LLaVA-1.5 and LLaVA-Med were trained; `squash`,
            which keeps every pixel and no aspect; `checkpoint`, what its image processor does, a center crop as a rule:
            then boxes and tokens know nothing of what is cut off. None = `squash` where the checkpoint's own image
            processor squashes, otherwise `pad`.
    """

    model_type = "llava"
    image_processor_class = LlavaImageProcessorPil
    default_codec = FloatCodec()
    image_token = marker = "<image>"

    def __init__(self, path: str, fit: str | None = None, **shared: Any) -> None:
        if fit is not None:
            check_choice("model.processor.fit", fit, "pad", "squash", "checkpoint")
        super().__init__(path, **shared)
        self.side: int = self.config.vision_config.image_size
        self.patch: int = self.config.vision_config.patch_size
        processor = self.image_processor
        stored = "pad" if processor.do_pad else "crop" if "shortest_edge" in dict(processor.size) else "squash"
        self.fit = stored if fit == "checkpoint" else fit or ("squash" if stored == "squash" else "pad")
        if self.fit != "crop":  # also in what is saved: plain transformers then sees what was trained on
            processor.do_pad = self.fit == "pad"
            processor.do_center_crop = False
            processor.size = {"height": self.side, "width": self.side}

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        x0, y0, x1, y1 = frame = self.frame(image.width, image.height)
        rows = self.side // self.patch
        share = rows * self.patch / self.side  # pixels behind the last whole patch are not seen
        grid = Grid(rows, rows, x0, y0, x0 + (x1 - x0) * share, y0 + (y1 - y0) * share)
        view = ImageView(image.width, image.height, self.side, self.side, (grid,), frame)
        pixels = self.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        return EncodedPicture(view, {"pixel_values": pixels}, self.image_token * grid.tokens)

    def frame(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The square that the model sees, in fractions of the image: larger than it when padded, smaller when cut."""
        if self.fit == "squash":
            return 0.0, 0.0, 1.0, 1.0
        if self.fit == "crop":
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
        else:
            side = max(width, height)
            left, top = -((side - width) // 2), -((side - height) // 2)  # whole pixels
        return left / width, top / height, (left + side) / width, (top + side) / height


BACKBONE = Backbone(model_class=LlavaForConditionalGeneration, processor_class=LlavaProcessor)
