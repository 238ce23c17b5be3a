"""PaliGemma 1 and 2: one square picture, a prompt that sees all of itself, boxes as location tokens."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from umed.chat import Grid, ImageView
from umed.models.backbone import EVERY_PROJECTION, Backbone, text_positions
from umed.models.backbones.loc_codec import TOKENS, LocCodec
from umed.models.family import BoxCodec, FamilyProcessor, Look
from umed.synthetic.tiny import build_tokenizer, save, text_settings

SPECIAL = ("<pad>", "<bos>", "<eos>", "<image>")
ROPE = {"rope_type": "default", "rope_theta": 10.0}  # a short base, so that neighbors in so short rows turn apart


class PaliGemmaProcessor(FamilyProcessor):
    """Prompt, image view, codec and collation for a PaliGemma folder or hub id; the picture's size is the checkpoint's.

    A prompt that does not fit into the window of PaliGemma 2's sliding layers is refused: its last token, which is read
    again for each answer, would not see all of it.
    """

    model_type = "paligemma"
    image_token = marker = "<image>"

    def __init__(self, path: str, max_prompt_tokens: int = 4096, codec: BoxCodec | None = None) -> None:
        super().__init__(path, max_prompt_tokens, codec)
        window = getattr(self.config.get_text_config(), "sliding_window", None)
        if window is not None:
            self.max_prompt_tokens = min(self.max_prompt_tokens, window - 1)

    def load_image_processor(self, path: str) -> Any:
        return SiglipImageProcessorPil.from_pretrained(path)

    def default_codec(self) -> BoxCodec:
        return LocCodec()

    def look(self, image: Image.Image) -> Look:
        pixels = self.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        height, width = pixels.shape[-2:]
        patch = self.config.vision_config.patch_size
        view = ImageView(image.width, image.height, width, height, (Grid(height // patch, width // patch),))
        return Look(view, {"pixel_values": pixels}, self.image_token * view.tokens)

    def text(self, query: str) -> str:
        """No chat template: the picture, the begin token, the query and the line end that asks for an answer."""
        return f"{self.marker}{self.tokenizer.bos_token}{query}\n"

    def token_types(self, ids: Tensor, look: Look) -> dict[str, Tensor]:
        return {"token_type_ids": torch.zeros_like(ids)}

    def smaller(self, room: int) -> str:
        return f"use a checkpoint for smaller pictures than {self.image_processor.size['height']} px"


def positions(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Positions of a left-padded batch, counted from one, (Q, P)."""
    return text_positions(model, batch) + 1


def write_tiny(folder: str | Path, corpus: Iterable[str], text: Literal["gemma", "gemma2"] = "gemma2") -> None:
    """Pictures of 56 px with 4 x 4 tokens; `text` is PaliGemma 1's language model or PaliGemma 2's."""
    tokenizer = build_tokenizer(corpus, SPECIAL, None, pad="<pad>", eos="<eos>", bos="<bos>", image_token="<image>")
    tokenizer.add_tokens(list(TOKENS))  # not special: an answer's text has them
    picture, patch = 56, 14
    settings = text_settings(tokenizer) | {"model_type": text, "rope_parameters": ROPE}
    hidden, spread = settings["hidden_size"], settings["initializer_range"]
    if text == "gemma2":  # caps that bite at random weights too
        caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 20.0}
        settings |= {"query_pre_attn_scalar": settings["head_dim"], "sliding_window": 512, **caps}
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": picture,
        "patch_size": patch,
        "vision_use_head": False,
    }
    whole: dict[str, Any] = {
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "vocab_size": len(tokenizer),
        "projection_dim": hidden,
        "hidden_size": hidden,
        "initializer_range": spread,
    }
    torch.manual_seed(0)
    model = PaliGemmaForConditionalGeneration(PaliGemmaConfig(text_config=settings, vision_config=vision, **whole))
    size, tokens = {"height": picture, "width": picture}, (picture // patch) ** 2
    save(folder, model, tokenizer, SiglipImageProcessorPil(size=size, image_seq_length=tokens))


BACKBONE = Backbone(
    model_class=PaliGemmaForConditionalGeneration,
    processor_class=PaliGemmaProcessor,
    write_tiny=write_tiny,
    tower=("vision_tower", "multi_modal_projector"),
    lora_targets=rf".*language_model.*\.{EVERY_PROJECTION}",
    positions=positions,
    row_inputs=("token_type_ids",),
    answer_type=1,
    prompt_sees_itself=True,
    caps_logits=True,
)
