"""PaliGemma 1 and 2: one square picture, a prompt that sees all of itself, boxes as location tokens."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PaliGemmaForConditionalGeneration
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from umed.chat import Grid, ImageView
from umed.models.backbone import Backbone, text_positions
from umed.models.backbones.loc_codec import LocCodec
from umed.models.family import EncodedPicture, FamilyProcessor


class PaliGemmaProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a PaliGemma folder or hub id; the picture's size is the checkpoint's.

    A prompt that does not fit into the window of PaliGemma 2's sliding layers is refused: its last token, which is read
    again for each answer, would not see all of it.
    """

    model_type = "paligemma"
    image_processor_class = SiglipImageProcessorPil
    default_codec = LocCodec()
    image_token = marker = "<image>"

    def __init__(self, path: str, **shared: Any) -> None:
        super().__init__(path, **shared)
        window = getattr(self.config.get_text_config(), "sliding_window", None)
        if window is not None:
            self.max_prompt_tokens = min(self.max_prompt_tokens, window - 1)

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        pixels = self.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        height, width = pixels.shape[-2:]
        patch = self.config.vision_config.patch_size
        view = ImageView(image.width, image.height, width, height, (Grid(height // patch, width // patch),))
        return EncodedPicture(view, {"pixel_values": pixels}, self.image_token * view.tokens)

    def text(self, query: str) -> str:
        """No chat template: the picture, the begin token, the query and the line end that asks for an answer."""
        return f"{self.marker}{self.tokenizer.bos_token}{query}\n"

    def token_types(self, ids: Tensor, picture: EncodedPicture) -> dict[str, Tensor]:
        return {"token_type_ids": torch.zeros_like(ids)}

    def advise(self, room: int) -> str:
        return f"use a checkpoint for smaller pictures than {self.image_processor.size['height']} px"


def positions(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Positions of a left-padded batch, counted from one, (Q, P)."""
    return text_positions(model, batch) + 1


BACKBONE = Backbone(
    model_class=PaliGemmaForConditionalGeneration,
    processor_class=PaliGemmaProcessor,
    positions=positions,
    extra_inputs=("token_type_ids",),
    answer_type=1,
    prompt_sees_itself=True,
    caps_logits=True,
)
