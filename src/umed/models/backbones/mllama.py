"""Llama-3.2-Vision: the picture enters by cross attention, no token of the text stands for a part of it."""

from PIL import Image
from torch import Tensor
from transformers import MllamaForConditionalGeneration
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

from umed.chat import ImageView
from umed.models.backbone import Backbone
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import EncodedPicture, FamilyProcessor


class MllamaProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a Llama-3.2-Vision folder or hub id.

    The family was taught no boxes: 0-1000 of the whole image is our choice.
    """

    model_type = "mllama"
    image_processor_class = MllamaImageProcessorPil
    default_codec = JsonCodec(scale=1000)
    image_token = marker = "<|image|>"
    ends = ("<|eot_id|>",)

    def encode_picture(self, image: Image.Image) -> EncodedPicture:
        inputs = self.image_processor(images=[[image]], return_tensors="pt")
        height, width = inputs["pixel_values"].shape[-2:]
        names = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
        view = ImageView(image.width, image.height, width, height, ())
        return EncodedPicture(view, {name: inputs[name] for name in names}, self.image_token)

    def token_types(self, ids: Tensor, picture: EncodedPicture) -> dict[str, Tensor]:
        """Every token from the picture's on attends to its tiles, (P, 1, tiles)."""
        tiles = picture.inputs["aspect_ratio_mask"][0]
        behind = (ids == self.image_id).long().cumsum(0) > 0
        return {"cross_attention_mask": behind[:, None, None].long() * tiles}


BACKBONE = Backbone(
    model_class=MllamaForConditionalGeneration,
    processor_class=MllamaProcessor,
    tower=("vision_model", "multi_modal_projector"),
    extra_inputs=("cross_attention_mask",),
    no_attention="Llama-3.2-Vision has no image tokens whose attention could be read (its picture enters by cross "
    "attention)",
)
