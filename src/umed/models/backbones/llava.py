"""LLaVA-1.5 and its line (LLaVA-Med): a square tower, one raster grid, boxes as fractions of the padded square."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from umed.chat import Grid, ImageView
from umed.errors import check_choice
from umed.models.backbone import EVERY_PROJECTION, Backbone
from umed.models.backbones.float_codec import FloatCodec
from umed.models.family import BoxCodec, FamilyProcessor, Look
from umed.synthetic import tiny

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
TINY = 56  # side of the tiny tower's picture


class LlavaProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a LLaVA folder or hub id in transformers' format.

    Args:
        fit: how a picture becomes square. `pad` with the mean color, as LLaVA-1.5 and LLaVA-Med were trained; `squash`,
            which keeps every pixel and no aspect; `checkpoint`, what its image processor does, a center crop as a rule:
            then boxes and tokens know nothing of what is cut off. None = `squash` where the checkpoint's own image
            processor squashes, otherwise `pad`.
    """

    model_type = "llava"
    image_token = marker = "<image>"

    def __init__(
        self, path: str, max_prompt_tokens: int = 4096, fit: str | None = None, codec: BoxCodec | None = None
    ) -> None:
        if fit is not None:
            check_choice("model.processor.fit", fit, "pad", "squash", "checkpoint")
        super().__init__(path, max_prompt_tokens, codec)
        self.side: int = self.config.vision_config.image_size
        self.patch: int = self.config.vision_config.patch_size
        taker = self.image_processor
        own = "pad" if taker.do_pad else "crop" if "shortest_edge" in dict(taker.size) else "squash"
        self.fit = own if fit == "checkpoint" else fit or ("squash" if own == "squash" else "pad")
        if self.fit != "crop":  # also in what is saved: plain transformers then sees what was trained on
            taker.do_pad = self.fit == "pad"
            taker.do_center_crop = False
            taker.size = {"height": self.side, "width": self.side}

    def load_image_processor(self, path: str) -> Any:
        return LlavaImageProcessorPil.from_pretrained(path)

    def default_codec(self) -> BoxCodec:
        return FloatCodec()

    def look(self, image: Image.Image) -> Look:
        x0, y0, x1, y1 = frame = self.frame(image.width, image.height)
        rows = self.side // self.patch
        share = rows * self.patch / self.side  # pixels behind the last whole patch are not seen
        grid = Grid(rows, rows, x0, y0, x0 + (x1 - x0) * share, y0 + (y1 - y0) * share)
        view = ImageView(image.width, image.height, self.side, self.side, (grid,), frame)
        pixels = self.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        return Look(view, {"pixel_values": pixels}, self.image_token * grid.tokens)

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


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    """Pictures of 56 px with 4 x 4 tokens."""
    tokenizer = tiny.build_tokenizer(corpus, SPECIAL, tiny.chat_template("<image>\n"))
    config = LlavaConfig(
        vision_config=tiny_tower(),
        text_config=LlamaConfig(**tiny.text_settings(tokenizer)),
        image_token_index=tokenizer.get_vocab()["<image>"],
        image_seq_length=16,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    pictures = LlavaImageProcessorPil(size={"shortest_edge": TINY}, crop_size={"height": TINY, "width": TINY})
    tiny.save(folder, LlavaForConditionalGeneration(config), tokenizer, pictures)


def tiny_tower() -> CLIPVisionConfig:
    """A CLIP tower with 4 x 4 patches."""
    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=TINY,
        patch_size=14,
        projection_dim=32,
        initializer_range=32**-0.5,
    )


BACKBONE = Backbone(
    model_class=LlavaForConditionalGeneration,
    processor_class=LlavaProcessor,
    write_tiny=write_tiny,
    tower=("vision_tower", "multi_modal_projector"),
    lora_targets=rf".*language_model.*\.{EVERY_PROJECTION}",
)
