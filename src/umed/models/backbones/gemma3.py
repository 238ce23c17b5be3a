"""Gemma 3 and MedGemma: one square picture whose tokens see each other; boxes as y, x JSON, 0-1000."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from transformers import Gemma3Config, Gemma3ForConditionalGeneration
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from umed.chat import Grid, ImageView
from umed.models.backbone import EVERY_PROJECTION, Backbone
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import BoxCodec, FamilyProcessor, Look
from umed.synthetic import tiny

BEGIN, END, SOFT = "<start_of_image>", "<end_of_image>", "<image_soft_token>"
SPECIAL = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", BEGIN, END, SOFT)
ROPE = {"rope_type": "default", "rope_theta": 10.0}  # a short base, so that neighbors in so short rows turn apart


class Gemma3Processor(FamilyProcessor):
    """Prompt, image view, codec and collation for a Gemma 3 or MedGemma folder or hub id; no pan and scan.

    Args:
        pad: a picture becomes square by black borders, as MedGemma 1.5's boxes expect it, not by a squeeze (Gemma 3).
    """

    model_type = "gemma3"
    image_token = SOFT
    marker = BEGIN
    suppressed = (BEGIN, END)
    ends = ("<end_of_turn>",)

    def __init__(
        self, path: str, pad: bool = False, max_prompt_tokens: int = 4096, codec: BoxCodec | None = None
    ) -> None:
        super().__init__(path, max_prompt_tokens, codec)
        self.pad = pad
        self.side = int(self.config.mm_tokens_per_image**0.5)

    def load_image_processor(self, path: str) -> Any:
        return Gemma3ImageProcessorPil.from_pretrained(path)

    def default_codec(self) -> BoxCodec:
        return JsonCodec("box_2d", scale=1000, rows_first=True)

    def look(self, image: Image.Image) -> Look:
        frame = (0.0, 0.0, 1.0, 1.0)
        square = image
        if self.pad:
            side = max(image.size)
            left, top = (side - image.width) // 2, (side - image.height) // 2
            square = ImageOps.expand(image, (left, top, side - image.width - left, side - image.height - top))
            frame = (
                -left / image.width,
                -top / image.height,
                (side - left) / image.width,
                (side - top) / image.height,
            )
        pixels = self.image_processor(images=[square], return_tensors="pt", do_pan_and_scan=False)["pixel_values"]
        height, width = pixels.shape[-2:]
        view = ImageView(image.width, image.height, width, height, (Grid(self.side, self.side, *frame),), frame)
        return Look(view, {"pixel_values": pixels}, f"\n\n{BEGIN}{SOFT * view.tokens}{END}\n\n")

    def token_types(self, ids: Tensor, look: Look) -> dict[str, Tensor]:
        return {"token_type_ids": (ids == self.image_id).long()}


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    """Pictures of 56 px, 8 x 8 patches pooled to 4 x 4 tokens; a window shorter than the prompt."""
    template = (
        "<bos>{% for m in messages %}<start_of_turn>{{ m.role if m.role == 'user' else 'model' }}\n"
        "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c.type == 'image' %}"
        f"{BEGIN}{{% else %}}{{{{ c.text }}}}{{% endif %}}{{% endfor %}}{{% endif %}}<end_of_turn>\n{{% endfor %}}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    )
    names = {"image_token": SOFT, "boi_token": BEGIN, "eoi_token": END}
    tokenizer = tiny.build_tokenizer(
        [*corpus, "model"], SPECIAL, template, pad="<pad>", eos="<eos>", bos="<bos>", **names
    )
    text = tiny.text_settings(tokenizer) | {
        "query_pre_attn_scalar": 16,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": ROPE, "full_attention": ROPE},
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 7,
        "vision_use_head": False,
    }
    ids = tokenizer.get_vocab()
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=16,
        boi_token_index=ids[BEGIN],
        eoi_token_index=ids[END],
        image_token_index=ids[SOFT],
        initializer_range=text["initializer_range"],
    )
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=32**-0.5)  # zero when new
    tiny.save(folder, model, tokenizer, Gemma3ImageProcessorPil(size={"height": 56, "width": 56}))


BACKBONE = Backbone(
    model_class=Gemma3ForConditionalGeneration,
    processor_class=Gemma3Processor,
    write_tiny=write_tiny,
    tower=("vision_tower", "multi_modal_projector"),
    lora_targets=rf".*language_model.*\.{EVERY_PROJECTION}",
    row_inputs=("token_type_ids",),
)
