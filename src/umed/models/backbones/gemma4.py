"""Gemma 4: pictures of any shape in at most 70 to 1120 pooled tokens; boxes as y, x JSON, 0-1000."""

from typing import Any

from PIL import Image
from transformers import Gemma4ForConditionalGeneration
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from umed.chat import Grid, ImageView
from umed.errors import check_choice
from umed.models.backbone import Backbone
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import EncodedPicture, FamilyProcessor

BEGIN, END, IMAGE = "<|image>", "<image|>", "<|image|>"
# of other media, and what opens a thought, which would take the answer's tokens
OTHERS = ("<|video|>", "<|audio>", "<audio|>", "<|audio|>", "<|channel>")
BUDGETS = (70, 140, 280, 560, 1120)  # tokens of a picture that the family was trained with


class Gemma4Processor(FamilyProcessor):
    """Prompt, image view, codec and collation for a Gemma 4 folder or hub id.

    Args:
        max_soft_tokens: a picture takes at most so many tokens, and about so many however small it is: 70, 140, 280,
            560 or 1120; None = the checkpoint's own (280).
    """

    model_type = "gemma4"
    image_processor_class = Gemma4ImageProcessorPil
    default_codec = JsonCodec("box_2d", scale=1000, rows_first=True)
    image_token = marker = IMAGE
    suppressed = (BEGIN, END, *OTHERS)
    ends = ("<turn|>",)
    token_types_name = "mm_token_type_ids"

    def __init__(self, path: str, max_soft_tokens: int | None = None, **shared: Any) -> None:
        super().__init__(path, **shared)
        if max_soft_tokens is not None:
            known = map(str, BUDGETS)
            self.image_processor.max_soft_tokens = int(
                check_choice("model.processor.max_soft_tokens", str(max_soft_tokens), *known)
            )

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        processor = self.image_processor
        inputs = processor(images=[image], return_tensors="pt")
        columns, rows = (inputs["image_position_ids"][0].amax(0) + 1).tolist()  # of patches; -1 where there is none
        grid = Grid(rows // processor.pooling_kernel_size, columns // processor.pooling_kernel_size)
        size = columns * processor.patch_size, rows * processor.patch_size
        view = ImageView(image.width, image.height, *size, (grid,))
        tensors = {name: inputs[name] for name in ("pixel_values", "image_position_ids")}
        return EncodedPicture(view, tensors, f"{BEGIN}{IMAGE * grid.tokens}{END}")

    def advise(self, room: int) -> str:
        fitting = [n for n in BUDGETS if n <= room]
        return f"set model.processor.max_soft_tokens={max(fitting)} or less" if fitting else ""


BACKBONE = Backbone(
    model_class=Gemma4ForConditionalGeneration,
    processor_class=Gemma4Processor,
    tower=("vision_tower", "embed_vision"),
    extra_inputs=("mm_token_type_ids",),
    caps_logits=True,
)
