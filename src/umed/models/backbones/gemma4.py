"""Gemma 4: pictures of any shape in at most 70 to 1120 pooled tokens; boxes as y, x JSON, 0-1000."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import Gemma4Config, Gemma4ForConditionalGeneration
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from umed.chat import Grid, ImageView
from umed.errors import check_choice
from umed.models.backbone import EVERY_PROJECTION, Backbone
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import BoxCodec, FamilyProcessor, Look
from umed.synthetic import tiny

BEGIN, END, SOFT = "<|image>", "<image|>", "<|image|>"
# of other media, and what opens a train of thought, whose boxes would count as the answer's
OTHERS = ("<|video|>", "<|audio>", "<audio|>", "<|audio|>", "<|channel>")
SPECIAL = ("<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", BEGIN, END, SOFT, *OTHERS)
BUDGETS = (70, 140, 280, 560, 1120)  # tokens of a picture that the family was trained with


class Gemma4Processor(FamilyProcessor):
    """Prompt, image view, codec and collation for a Gemma 4 folder or hub id.

    Args:
        max_soft_tokens: a picture takes at most so many tokens, and about so many however small it is: 70, 140, 280,
            560 or 1120; None = the checkpoint's own (280).
    """

    model_type = "gemma4"
    image_token = marker = SOFT
    suppressed = (BEGIN, END, *OTHERS)
    ends = ("<turn|>",)

    def __init__(
        self,
        path: str,
        max_soft_tokens: int | None = None,
        max_prompt_tokens: int = 4096,
        codec: BoxCodec | None = None,
    ) -> None:
        super().__init__(path, max_prompt_tokens, codec)
        if max_soft_tokens is not None:
            known = map(str, BUDGETS)
            self.image_processor.max_soft_tokens = int(
                check_choice("model.processor.max_soft_tokens", str(max_soft_tokens), *known)
            )

    def load_image_processor(self, path: str) -> Any:
        return Gemma4ImageProcessorPil.from_pretrained(path)

    def default_codec(self) -> BoxCodec:
        return JsonCodec("box_2d", scale=1000, rows_first=True)

    def look(self, image: Image.Image) -> Look:
        taker = self.image_processor
        features = taker(images=[image], return_tensors="pt")
        columns, rows = (features["image_position_ids"][0].amax(0) + 1).tolist()  # of patches; -1 where there is none
        grid = Grid(rows // taker.pooling_kernel_size, columns // taker.pooling_kernel_size)
        view = ImageView(image.width, image.height, columns * taker.patch_size, rows * taker.patch_size, (grid,))
        inputs = {name: features[name] for name in ("pixel_values", "image_position_ids")}
        return Look(view, inputs, f"{BEGIN}{SOFT * grid.tokens}{END}")

    def token_types(self, ids: Tensor, look: Look) -> dict[str, Tensor]:
        return {"mm_token_type_ids": (ids == self.image_id).long()}

    def smaller(self, room: int) -> str:
        fitting = [n for n in BUDGETS if n <= room]
        return f"set model.processor.max_soft_tokens={max(fitting)} or less" if fitting else ""


def write_tiny(folder: str | Path, corpus: Iterable[str], **options: Any) -> None:
    """Pictures of 70 tokens at most, 14 px each; the upper two of four layers use the lower ones' keys and values.

    Args:
        options: of the language model, instead of these.
    """
    template = (
        "<bos>{% for m in messages %}<|turn>{{ m.role if m.role == 'user' else 'model' }}\n"
        "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c.type == 'image' %}"
        f"{SOFT}{{% else %}}{{{{ c.text }}}}{{% endif %}}{{% endfor %}}{{% endif %}}<turn|>\n{{% endfor %}}"
        "{% if add_generation_prompt %}<|turn>model\n{% endif %}"
    )
    names = {"image_token": SOFT, "boi_token": BEGIN, "eoi_token": END}
    tokenizer = tiny.build_tokenizer(
        [*corpus, "model"], SPECIAL, template, pad="<pad>", eos="<eos>", bos="<bos>", **names
    )
    size, rope = len(tokenizer), {"rope_theta": 10.0}  # a short base, so that neighbors in so short rows turn apart
    text = tiny.text_settings(tokenizer, layers=4) | {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": 16,  # shorter than the prompt
        "global_head_dim": 32,
        "num_kv_shared_layers": 2,
        "use_double_wide_mlp": True,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": size,
        "use_bidirectional_attention": "vision",
        "final_logit_softcapping": 30.0,
        "rope_parameters": {
            "sliding_attention": rope | {"rope_type": "default"},
            "full_attention": rope | {"rope_type": "proportional", "partial_rotary_factor": 0.5},
        },
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "patch_size": 7,
        "pooling_kernel_size": 2,
        "position_embedding_size": 160,
        "initializer_range": 32**-0.5,
    }
    markers = {"boi": BEGIN, "eoi": END, "image": SOFT, "video": "<|video|>", "audio": "<|audio|>", "boa": "<|audio>"}
    vocabulary = tokenizer.get_vocab()
    ids: dict[str, Any] = {f"{name}_token_id": vocabulary[token] for name, token in markers.items()}
    config = Gemma4Config(
        text_config=text | options,
        vision_config=vision,
        audio_config=None,
        eoa_token_index=vocabulary["<audio|>"],
        initializer_range=text["initializer_range"],
        **ids,
    )
    torch.manual_seed(0)
    model = Gemma4ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.vision_tower.patch_embedder.position_embedding_table)  # all the same when new
    for layer in model.model.language_model.layers:  # nothing else keeps the scores small
        torch.nn.init.constant_(layer.self_attn.q_norm.weight, layer.self_attn.head_dim**-0.5)
    tiny.save(
        folder, model, tokenizer, Gemma4ImageProcessorPil(patch_size=7, pooling_kernel_size=2, max_soft_tokens=70)
    )


BACKBONE = Backbone(
    model_class=Gemma4ForConditionalGeneration,
    processor_class=Gemma4Processor,
    write_tiny=write_tiny,
    tower=("vision_tower", "embed_vision"),
    lora_targets=rf".*language_model.*\.{EVERY_PROJECTION}",
    row_inputs=("mm_token_type_ids",),
    caps_logits=True,
)
