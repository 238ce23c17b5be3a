"""Idefics3: tiles in rows, each announced by its place, and the whole picture last; boxes as 0-1000 JSON, ours."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import Idefics3Config, Idefics3ForConditionalGeneration
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from umed.chat import Grid, ImageView
from umed.errors import check_positive
from umed.models.backbone import EVERY_PROJECTION, Backbone
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import BoxCodec, FamilyProcessor, Look
from umed.synthetic import tiny

FAKE, GLOBAL = "<fake_token_around_image>", "<global-img>"
PLACES = tuple(f"<row_{r}_col_{c}>" for r in range(1, 7) for c in range(1, 7))
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<end_of_utterance>", FAKE, "<image>", GLOBAL, *PLACES)


class Idefics3Processor(FamilyProcessor):
    """Prompt, image view, codec and collation for an Idefics3 folder or hub id.

    The family was taught no boxes: 0-1000 of the whole image is our choice.

    Args:
        longest_edge: the longer side of the picture before it is cut, None = the checkpoint's own; a tile's side or
            less leaves one tile.
    """

    model_type = "idefics3"
    image_token = marker = "<image>"
    suppressed = (FAKE, GLOBAL, *PLACES)
    ends = ("<end_of_utterance>",)
    tiled = ("pixel_values", "pixel_attention_mask")

    def __init__(
        self, path: str, longest_edge: int | None = None, max_prompt_tokens: int = 4096, codec: BoxCodec | None = None
    ) -> None:
        check_positive("model.processor.longest_edge", longest_edge)
        super().__init__(path, max_prompt_tokens, codec)
        self.image_processor.size = {"longest_edge": longest_edge or dict(self.image_processor.size)["longest_edge"]}
        self.tile: int = dict(self.image_processor.max_image_size)["longest_edge"]
        token = self.config.vision_config.patch_size * self.config.scale_factor
        self.side: int = self.tile // token
        self.share: float = self.side * token / self.tile  # of a tile: pixels behind its last whole token are not seen

    def load_image_processor(self, path: str) -> Any:
        return Idefics3ImageProcessorPil.from_pretrained(path)

    def default_codec(self) -> BoxCodec:
        return JsonCodec(scale=1000)

    def look(self, image: Image.Image) -> Look:
        features = self.image_processor(images=[image], return_tensors="pt", return_row_col_info=True)
        rows, columns = features["rows"][0][0], features["cols"][0][0]
        side, share = self.side, self.share
        tiles = [
            Grid(side, side, c / columns, r / rows, (c + share) / columns, (r + share) / rows)
            for r in range(rows)
            for c in range(columns)
        ]
        seen = (max(columns, 1) * self.tile, max(rows, 1) * self.tile)
        view = ImageView(
            image.width, image.height, *seen, (*tiles, Grid(side, side, 0, 0, share, share, scale=int(rows > 0)))
        )
        inputs = {name: features[name] for name in ("pixel_values", "pixel_attention_mask")}
        return Look(view, inputs, self._said(rows, columns))

    def _said(self, rows: int, columns: int) -> str:
        """How the picture stands in the prompt: each tile with its place, a line end a row, then the whole."""
        tokens = self.image_token * self.side**2
        lines = (
            "".join(f"{FAKE}<row_{r + 1}_col_{c + 1}>{tokens}" for c in range(columns)) + "\n" for r in range(rows)
        )
        return "".join(lines) + ("\n" if rows else "") + f"{FAKE}{GLOBAL}{tokens}{FAKE}"

    def smaller(self, room: int) -> str:
        if room < self.side**2:
            return ""
        edge = self.tile
        while self._most(edge + self.tile) <= room:
            edge += self.tile
        return f"set model.processor.longest_edge={edge} or less"

    def _most(self, edge: int) -> int:
        tiles = (edge // self.tile) ** 2
        return self.side**2 * (tiles + (tiles > 1))


def settings(tokenizer: Any) -> dict[str, Any]:
    """Config of a tiny model: tiles of 56 px with 2 x 2 tokens."""
    text = tiny.text_settings(tokenizer) | {"model_type": "llama"}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 14,
        "initializer_range": 32**-0.5,
    }
    return {
        "text_config": text,
        "vision_config": vision,
        "scale_factor": 2,
        "image_token_id": tokenizer.get_vocab()["<image>"],
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    tokenizer = tiny.build_tokenizer(corpus, SPECIAL, tiny.chat_template("<image>"))
    torch.manual_seed(0)
    model = Idefics3ForConditionalGeneration(Idefics3Config(**settings(tokenizer)))
    pictures = Idefics3ImageProcessorPil(size={"longest_edge": 112}, max_image_size={"longest_edge": 56})
    tiny.save(folder, model, tokenizer, pictures)


BACKBONE = Backbone(
    model_class=Idefics3ForConditionalGeneration,
    processor_class=Idefics3Processor,
    write_tiny=write_tiny,
    tower=("vision_model", "connector"),
    lora_targets=rf".*text_model.*\.{EVERY_PROJECTION}",
)
