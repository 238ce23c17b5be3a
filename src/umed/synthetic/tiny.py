"""The embedded model: a Qwen3-VL (or Qwen2.5-VL) of about 2 M parameters, its tokenizer built offline."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>")  # fmt: skip
# Pieces of the codec's JSON are one token each, and so is each multiple of STEP up to 1000: an answer is short.
JSON_PIECES = ('[{"bbox_2d":[', '],"label":"', '"},{"bbox_2d":[', '"}]')
STEP = 10
WORDS = r" ?[A-Za-z]+"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_template(picture: str, begin: str = "") -> str:
    """A chat template of the Qwen kind that writes `picture` for a picture."""
    return begin + TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", picture)


def build_tokenizer(
    corpus: Iterable[str],
    special: Sequence[str] = SPECIAL,
    template: str | None = TEMPLATE,
    pad: str = "<|endoftext|>",
    eos: str = "<|im_end|>",
    bos: str | None = None,
    **names: str,
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer in which every word of the corpus and every multiple of STEP is one token.

    Any other text falls back to its bytes, so every text comes back as it went in.

    Args:
        special: tokens that are whole wherever they stand and that a decoded answer leaves out; `pad`, `eos` and `bos`
            are among them.
        names: what further tokens are called, e.g. `image_token`.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = sorted({w for text in corpus for w in re.findall(WORDS, text)} | {"user", "assistant"})
    whole = [*JSON_PIECES, *map(str, range(0, 1001, STEP)), *words]
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens = dict.fromkeys([*special, *alphabet, *("".join(t for t, _ in as_bytes.pre_tokenize_str(w)) for w in whole)])
    tokenizer = Tokenizer(BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[], ignore_merges=True))
    pattern = "|".join([*map(re.escape, JSON_PIECES), WORDS, r"[0-9]+", r"[\s\S]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token=eos,
        extra_special_tokens=[t for t in special if t != pad],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        **({"chat_template": template} if template else {}),
        **({"bos_token": bos} if bos else {}),
        **names,
    )


def save(folder: str | Path, model: Any, tokenizer: Any, image_processor: Any) -> None:
    """Write a model with its tokenizer and image processor, as `from_pretrained` reads them."""
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)


def text_settings(tokenizer: Any, hidden: int = 64, layers: int = 2, heads: int = 4) -> dict[str, Any]:
    """What every tiny language model has in common; wide weights, so that a mistake moves log-probs visibly."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "head_dim": hidden // heads,
        "max_position_embeddings": 2048,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": hidden**-0.5,
    }


def build(
    folder: str | Path,
    corpus: Iterable[str],
    *,
    family: Literal["qwen3_vl", "qwen2_5_vl"] = "qwen3_vl",
    seed: int = 0,
    hidden: int = 128,
    layers: int = 4,
    vision_layers: int = 4,
    patch: int = 16,
    max_pixels: int = 128 * 128,
) -> None:
    """Write a random tiny model of the family, with tokenizer and image processor, to `folder`.

    `corpus` decides the vocabulary.
    """
    tokenizer = build_tokenizer(corpus)
    heads, ids = 4, {name: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in MARKERS.items()}
    pairs = hidden // heads // 2  # rotary pairs of a head
    side = pairs // 4
    spread = hidden**-0.5  # the usual .02 is made for wide layers: here hardly anything would pass
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "head_dim": hidden // heads,
        "max_position_embeddings": 2048,
        # a base of 10: with the usual 10,000 neighbouring columns of so few tokens would turn by almost nothing
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10.0,
            "mrope_section": [pairs - 2 * side, side, side],
        },
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
        "initializer_range": spread,
    }
    vision = {
        "depth": vision_layers,
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_heads": heads,
        "out_hidden_size": hidden,
        "patch_size": patch,
        "initializer_range": spread,
    }
    config_class, model_class, extra = FAMILIES[family]
    vision |= extra(vision_layers, patch)
    if family == "qwen2_5_vl":
        del text["head_dim"]
    config = config_class(
        text_config=text, vision_config=vision, tie_word_embeddings=True, initializer_range=spread, **ids
    )
    torch.manual_seed(seed)
    model = model_class(config)
    pictures = Qwen2VLImageProcessorPil(patch_size=patch, min_pixels=(4 * patch) ** 2, max_pixels=max_pixels)
    save(folder, model, tokenizer, pictures)


MARKERS = {"image_token_id": "image_pad", "video_token_id": "video_pad", "vision_start_token_id": "vision_start",
           "vision_end_token_id": "vision_end"}  # fmt: skip
FAMILIES: dict[str, tuple[Any, Any, Callable[[int, int], dict[str, Any]]]] = {
    "qwen3_vl": (
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        lambda depth, patch: {"num_position_embeddings": 64, "deepstack_visual_indexes": [depth // 2 - 1]},
    ),
    "qwen2_5_vl": (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        lambda depth, patch: {"window_size": 8 * patch, "fullatt_block_indexes": list(range(depth))},
    ),
}
