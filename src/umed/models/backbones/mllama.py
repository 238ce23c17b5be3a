"""Llama-3.2-Vision: the picture enters by cross attention, no token of the text stands for a part of it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import MllamaConfig, MllamaForConditionalGeneration
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

from umed.chat import ImageView
from umed.models.backbone import EVERY_PROJECTION, Backbone
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import BoxCodec, FamilyProcessor, Look
from umed.synthetic import tiny

SPECIAL = ("<|pad|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|image|>")


class MllamaProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a Llama-3.2-Vision folder or hub id.

    The family was taught no boxes: 0-1000 of the whole image is our choice.
    """

    model_type = "mllama"
    image_token = marker = "<|image|>"
    ends = ("<|eot_id|>",)

    def load_image_processor(self, path: str) -> Any:
        return MllamaImageProcessorPil.from_pretrained(path)

    def default_codec(self) -> BoxCodec:
        return JsonCodec(scale=1000)

    def look(self, image: Image.Image) -> Look:
        features = self.image_processor(images=[[image]], return_tensors="pt")
        height, width = features["pixel_values"].shape[-2:]
        names = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
        view = ImageView(image.width, image.height, width, height, ())
        return Look(view, {name: features[name] for name in names}, self.image_token)

    def token_types(self, ids: Tensor, look: Look) -> dict[str, Tensor]:
        """Every token from the picture's on sees its tiles, (P, 1, tiles)."""
        tiles = look.inputs["aspect_ratio_mask"][0]
        behind = (ids == self.image_id).long().cumsum(0) > 0
        return {"cross_attention_mask": behind[:, None, None].long() * tiles}


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    """Tiles of 56 px, up to four; the second of three layers looks at the picture."""
    template = "<|begin_of_text|>" + tiny.chat_template("<|image|>").replace("<|im_start|>", "").replace(
        "<|im_end|>", "<|eot_id|>"
    )
    tokenizer = tiny.build_tokenizer(
        corpus, SPECIAL, template, pad="<|pad|>", eos="<|end_of_text|>", bos="<|begin_of_text|>"
    )
    text = tiny.text_settings(tokenizer, layers=3)
    del text["head_dim"]
    spread = text["initializer_range"]
    config = MllamaConfig(
        text_config=text
        | {
            "cross_attention_layers": [1],
            "rope_parameters": {"rope_type": "default", "rope_theta": 10.0},
            "tie_word_embeddings": False,
        },
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 4,
            "intermediate_size": 64,
            "vision_output_dim": 64,
            "intermediate_layers_indices": [0],
            "image_size": 56,
            "patch_size": 14,
            "max_num_tiles": 4,
            "initializer_range": 32**-0.5,
        },
        image_token_index=tokenizer.get_vocab()["<|image|>"],
    )
    torch.manual_seed(0)
    model = MllamaForConditionalGeneration(config)
    for name, weight in model.named_parameters():
        if "gate" in name and weight.numel() <= 2:  # closed in a new model: it would not see its picture
            torch.nn.init.constant_(weight, spread + 1)
    pictures = MllamaImageProcessorPil(size={"height": 56, "width": 56}, max_image_tiles=4)
    tiny.save(folder, model, tokenizer, pictures)


BACKBONE = Backbone(
    model_class=MllamaForConditionalGeneration,
    processor_class=MllamaProcessor,
    write_tiny=write_tiny,
    tower=("vision_model", "multi_modal_projector"),
    lora_targets=rf".*language_model.*\.{EVERY_PROJECTION}",
    row_inputs=("cross_attention_mask",),
    no_attention="Llama-3.2-Vision has no image tokens whose attention could be read (its picture enters by cross "
    "attention)",
)
