"""LLaVA-1.5 and its line (LLaVA-Med): a square tower, one raster grid, boxes as fractions of the padded square."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from umed.chat import Grid, ImageView
from umed.models import tiny
from umed.models.backbones.float_codec import FloatCodec
from umed.models.family import EVERY_PROJECTION, Backbone, BoxCodec, FamilyProcessor, Look

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")


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
        super().__init__(path, max_prompt_tokens, codec)
        squashed = not self.image_processor.do_center_crop and "shortest_edge" not in dict(self.image_processor.size)
        self.fit = fit or ("squash" if squashed else "pad")
        self.side: int = self.config.vision_config.image_size
        self.rows: int = self.side // self.config.vision_config.patch_size

    def load_image_processor(self, path: str) -> Any:
        return CLIPImageProcessorPil.from_pretrained(path)

    def default_codec(self) -> BoxCodec:
        return FloatCodec()

    def look(self, image: Image.Image) -> Look:
        x0, y0, x1, y1 = frame = self.frame(image.width, image.height)
        size = {"height": self.side, "width": self.side}
        if self.fit == "checkpoint":
            features = self.image_processor(images=[image], return_tensors="pt")
        else:
            square = padded(image, self.image_processor.image_mean) if self.fit == "pad" else image
            features = self.image_processor(images=[square], return_tensors="pt", size=size, do_center_crop=False)
        grid = Grid(self.rows, self.rows, x0, y0, x1, y1)
        view = ImageView(image.width, image.height, self.side, self.side, (grid,), frame)
        return Look(view, {"pixel_values": features["pixel_values"]}, self.image_token * grid.tokens)

    def frame(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The square that the model sees, in fractions of the image: larger than it when padded, smaller when cut."""
        if self.fit == "squash":
            return 0.0, 0.0, 1.0, 1.0
        side = max(width, height) if self.fit == "pad" else min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        if self.fit == "pad":  # whole pixels, as `padded` places them
            left, top = -((side - width) // 2), -((side - height) // 2)
        return left / width, top / height, (left + side) / width, (top + side) / height


def padded(image: Image.Image, mean: Iterable[float]) -> Image.Image:
    """The picture in the middle of a square of its longer side, the rest in the mean color."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), tuple(int(255 * v) for v in mean))
    square.paste(image.convert("RGB"), ((side - image.width) // 2, (side - image.height) // 2))
    return square


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tokenizer = tiny.build_tokenizer(corpus, SPECIAL, tiny.chat_template("<image>\n"))
    text = LlamaConfig(**tiny.text_settings(tokenizer))
    vision = tiny_tower()
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.get_vocab()["<image>"],
        image_seq_length=16,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    size = {"height": 56, "width": 56}
    tiny.save(
        folder,
        LlavaForConditionalGeneration(config),
        tokenizer,
        CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size=size),
    )


def tiny_tower() -> CLIPVisionConfig:
    """A CLIP tower of 56 px with 4 x 4 patches."""
    return CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=56,
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
