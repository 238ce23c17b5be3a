"""InternVL: tiles of one size and a thumbnail behind them; boxes relative to the whole image, 0-1000, in tags."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import InternVLConfig, InternVLForConditionalGeneration
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)

from umed.chat import Grid, ImageView
from umed.errors import check_positive
from umed.models.backbone import EVERY_PROJECTION, Backbone
from umed.models.backbones.ref_box_codec import TAGS, RefBoxCodec
from umed.models.family import BoxCodec, FamilyProcessor, Look
from umed.synthetic.tiny import build_tokenizer, chat_template, save, text_settings

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>", *TAGS)
ROPE = {"rope_type": "default", "rope_theta": 10.0}  # a short base, so that neighbors in so short rows turn apart


class InternVLProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for an InternVL folder or hub id in transformers' format (`-hf`).

    Args:
        max_patches: a picture, also a small one, is cut into so many tiles at most; None = the checkpoint's own (12).
    """

    model_type = "internvl"
    image_token = marker = "<IMG_CONTEXT>"
    suppressed = ("<img>", "</img>", "<video>")

    def __init__(
        self,
        path: str,
        max_patches: int | None = None,
        max_prompt_tokens: int = 4096,
        codec: BoxCodec | None = None,
    ) -> None:
        check_positive("model.processor.max_patches", max_patches)
        super().__init__(path, max_prompt_tokens, codec)
        self.image_processor.max_patches = max_patches or self.image_processor.max_patches
        # as transformers' processor of the family does, whatever the checkpoint's file says
        self.image_processor.crop_to_patches = True
        special = {i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        self.silent_ids = special - set(self.tokenizer.convert_tokens_to_ids(list(TAGS)))

    def load_image_processor(self, path: str) -> Any:
        return GotOcr2ImageProcessorPil.from_pretrained(path)

    def default_codec(self) -> BoxCodec:
        return RefBoxCodec()

    @property
    def side(self) -> int:
        """Token rows, and columns, of a tile."""
        height, patch = self.image_processor.size["height"], self.config.vision_config.patch_size[0]
        return int(height // patch * self.config.downsample_ratio)

    def look(self, image: Image.Image) -> Look:
        taker, side = self.image_processor, self.side
        tile = taker.size["height"], taker.size["width"]
        limits = taker.min_patches, taker.max_patches
        columns, rows = get_optimal_tiled_canvas((image.height, image.width), tile, *limits)
        grids = [
            Grid(side, side, c / columns, r / rows, (c + 1) / columns, (r + 1) / rows)
            for r in range(rows)
            for c in range(columns)
        ]
        if len(grids) > 1:
            grids.append(Grid(side, side, scale=1))  # the thumbnail
        view = ImageView(image.width, image.height, columns * tile[1], rows * tile[0], tuple(grids))
        pixels = taker(images=[image], return_tensors="pt")["pixel_values"]
        return Look(view, {"pixel_values": pixels}, f"<img>{self.image_token * view.tokens}</img>")

    def decode(self, ids: Sequence[int]) -> str:
        """Without special tokens, but with those that mark a box."""
        spoken = [i for i in ids if i not in self.silent_ids]
        return self.tokenizer.decode(spoken, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def smaller(self, room: int) -> str:
        tiles = room // self.side**2
        return f"set model.processor.max_patches={max(tiles - 1, 1)} or less" if tiles else ""


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    """Tiles of 56 px with 2 x 2 tokens, up to four of them and a thumbnail."""
    tokenizer = build_tokenizer(
        corpus,
        SPECIAL,
        chat_template("<IMG_CONTEXT>\n"),
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    tile, patch = 56, 14
    text = text_settings(tokenizer) | {"model_type": "qwen2", "tie_word_embeddings": True, "rope_parameters": ROPE}
    del text["head_dim"]
    hidden, spread = text["hidden_size"], text["initializer_range"]
    vision = {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": tile,
        "patch_size": patch,
        "layer_scale_init_value": 1.0,
        "initializer_range": spread,
    }
    whole: dict[str, Any] = {
        "image_token_id": tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        "image_seq_length": (tile // patch // 2) ** 2,
        "tie_word_embeddings": True,
        "initializer_range": spread,
    }
    torch.manual_seed(0)
    model = InternVLForConditionalGeneration(InternVLConfig(text_config=text, vision_config=vision, **whole))
    places = model.model.vision_tower.embeddings
    for weight in (places.position_embeddings, places.cls_token):  # zero in a new model
        torch.nn.init.normal_(weight, std=spread)
    save(folder, model, tokenizer, GotOcr2ImageProcessorPil(size={"height": tile, "width": tile}, max_patches=4))


BACKBONE = Backbone(
    model_class=InternVLForConditionalGeneration,
    processor_class=InternVLProcessor,
    write_tiny=write_tiny,
    tower=("vision_tower", "multi_modal_projector"),
    lora_targets=rf".*language_model.*\.{EVERY_PROJECTION}",
)
