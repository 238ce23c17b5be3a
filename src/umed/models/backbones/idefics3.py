"""Idefics3: tiles in rows, each announced by its place, and the whole picture last; boxes as 0-1000 JSON, ours."""

from typing import Any

from PIL import Image
from transformers import Idefics3ForConditionalGeneration
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from umed.chat import Grid, ImageView
from umed.errors import check_positive
from umed.models.backbone import Backbone, lora_targets
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import EncodedPicture, FamilyProcessor

FAKE, GLOBAL = "<fake_token_around_image>", "<global-img>"
PLACES = tuple(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7))


class Idefics3Processor(FamilyProcessor):
    """Prompt, image view, codec and collation for an Idefics3 folder or hub id.

    The family was taught no boxes: 0-1000 of the whole image is our choice.

    Args:
        longest_edge: the longer side of the picture before it is cut, None = the checkpoint's own; a tile's side or
            less leaves one tile.
    """

    model_type = "idefics3"
    image_processor_class: Any = Idefics3ImageProcessorPil
    default_codec = JsonCodec(scale=1000)
    image_token = marker = "<image>"
    suppressed = (FAKE, GLOBAL, *PLACES)
    ends = ("<end_of_utterance>",)
    tiled = ("pixel_values", "pixel_attention_mask")

    def __init__(self, path: str, longest_edge: int | None = None, **shared: Any) -> None:
        check_positive("model.processor.longest_edge", longest_edge)
        super().__init__(path, **shared)
        self.image_processor.size = {"longest_edge": longest_edge or dict(self.image_processor.size)["longest_edge"]}
        self.tile: int = dict(self.image_processor.max_image_size)["longest_edge"]
        token = self.config.vision_config.patch_size * self.config.scale_factor
        self.side: int = self.tile // token
        self.share: float = self.side * token / self.tile  # of a tile: pixels behind its last whole token are not seen

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        inputs = self.image_processor(images=[image], return_tensors="pt", return_row_col_info=True)
        rows, columns = inputs["rows"][0][0], inputs["cols"][0][0]
        whole = Grid(self.side, self.side, 0, 0, self.share, self.share, scale=int(rows > 0))
        grids = (*Grid.tiles(rows, columns, self.side, self.share), whole)
        size = max(columns, 1) * self.tile, max(rows, 1) * self.tile
        tensors = {name: inputs[name] for name in ("pixel_values", "pixel_attention_mask")}
        return EncodedPicture(ImageView(image.width, image.height, *size, grids), tensors, self._text(rows, columns))

    def _text(self, rows: int, columns: int) -> str:
        """The picture in the prompt: each tile with its place, a line end per row, then the whole."""
        tokens = self.image_token * self.side**2
        lines = (
            "".join(f"{FAKE}<row_{r + 1}_col_{c + 1}>{tokens}" for c in range(columns)) + "\n" for r in range(rows)
        )
        return "".join(lines) + ("\n" if rows else "") + f"{FAKE}{GLOBAL}{tokens}{FAKE}"

    def advise(self, room: int) -> str:
        if room < self.side**2:
            return ""
        across = 1  # tiles, and as many down; where there are several, the whole picture is one more
        while self.side**2 * ((across + 1) ** 2 + 1) <= room:
            across += 1
        return f"set model.processor.longest_edge={across * self.tile} or less"


BACKBONE = Backbone(
    model_class=Idefics3ForConditionalGeneration,
    processor_class=Idefics3Processor,
    tower=("vision_model", "connector"),
    lora_targets=lora_targets("text_model"),
)
