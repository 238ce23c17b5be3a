"""The embedded model: a Qwen2.5-VL of about 2 M parameters with a tokenizer built from a corpus, all offline."""

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>")  # fmt: skip
# Pieces of the codec's JSON are one token each, so an answer is short and a coordinate is one decision.
JSON_PIECES = ('[{"bbox_2d":[', '],"label":"', '"},{"bbox_2d":[', '"}]')
WORDS = r" ?[A-Za-z]+| ?[0-9]+"
MAX_COORDINATE = 255
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer(corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer in which every word of the corpus and every coordinate is one token.

    Any other text falls back to its bytes, so every text comes back as it went in.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = sorted({w for text in corpus for w in re.findall(WORDS, text)} | {"user", "assistant"})
    whole = [*JSON_PIECES, *words, *(str(n) for n in range(MAX_COORDINATE + 1))]
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens = dict.fromkeys([*SPECIAL, *alphabet, *("".join(t for t, _ in as_bytes.pre_tokenize_str(w)) for w in whole)])
    tokenizer = Tokenizer(BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[], ignore_merges=True))
    pattern = "|".join([*map(re.escape, JSON_PIECES), WORDS, r"[\s\S]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=list(SPECIAL[1:]),
        padding_side="left",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build(
    folder: str | Path,
    corpus: Iterable[str],
    *,
    seed: int = 0,
    hidden: int = 128,
    layers: int = 4,
    heads: int = 4,
    patch: int = 14,
    vision_depth: int = 4,
    max_pixels: int = 112 * 112,
) -> None:
    """Write a random tiny Qwen2.5-VL with tokenizer and image processor to `folder`.

    Raises:
        Nothing of its own; `corpus` decides the vocabulary.
    """
    tokenizer = build_tokenizer(corpus)
    head_dim = hidden // heads
    third = head_dim // 8
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 3 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [head_dim // 2 - 2 * 2 * third, 2 * third, 2 * third],
            },
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": vision_depth,
            "hidden_size": hidden,
            "intermediate_size": 3 * hidden,
            "num_heads": heads,
            "out_hidden_size": hidden,
            "patch_size": patch,
            "window_size": 8 * patch,
            "fullatt_block_indexes": list(range(vision_depth)),
        },
        tie_word_embeddings=True,
        **{
            f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
            for name, token in [("image", "image_pad"), ("video", "video_pad"), ("vision_start", "vision_start"),
                                ("vision_end", "vision_end")]  # fmt: skip
        },
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(patch_size=patch, min_pixels=(4 * patch) ** 2, max_pixels=max_pixels).save_pretrained(folder)
