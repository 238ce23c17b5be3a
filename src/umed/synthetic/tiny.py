"""Parts of tiny random models: a tokenizer built offline, settings of language models and towers, the folder."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import GenerationConfig, PreTrainedTokenizerFast

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>")  # fmt: skip
# Pieces of the codec's JSON are one token each, and so is each multiple of a step up to 1000: an answer is short.
JSON_PIECES = ('[{"bbox_2d":[', '],"label":"', '"},{"bbox_2d":[', '"}]')
STEP = 10
WORDS = r" ?[A-Za-z]+"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# a short base: with the usual 10,000 neighboring columns of so few tokens would turn by almost nothing
ROPE = {"rope_type": "default", "rope_theta": 10.0}
SIDE = 56  # pixels of a tower's picture


def chat_template(picture: str, start: str = "<|im_start|>", end: str = "<|im_end|>", begin: str = "") -> str:
    """A chat template of the Qwen kind that writes `picture` for a picture."""
    written = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", picture)
    return begin + written.replace("<|im_start|>", start).replace("<|im_end|>", end)


def gemma_template(picture: str, start: str, end: str) -> str:
    """A chat template of the Gemma kind, in which the assistant is called model."""
    return (
        f"<bos>{{% for m in messages %}}{start}{{{{ m.role if m.role == 'user' else 'model' }}}}\n"
        "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c.type == 'image' %}"
        f"{picture}{{% else %}}{{{{ c.text }}}}{{% endif %}}{{% endfor %}}{{% endif %}}{end}\n{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{start}model\n{{% endif %}}"
    )


def build_tokenizer(
    corpus: Iterable[str],
    special: Sequence[str] = SPECIAL,
    template: str | None = TEMPLATE,
    pad: str = "<|endoftext|>",
    eos: str = "<|im_end|>",
    bos: str | None = None,
    step: int = STEP,
    phrases: Sequence[str] = (),
    commas: bool = False,
    **names: str,
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer in which every word of the corpus and every multiple of `step` is one token.

    Any other text falls back to its bytes, so every text decodes to itself.

    Args:
        phrases: of several words, written as one token each wherever no letter follows; the longest one first.
        commas: a multiple of `step` and a comma behind it are one token too.
        special: tokens that are never split and that a decoded answer leaves out; `pad`, `eos` and `bos` are among
            them.
        names: of further tokens, e.g. `image_token`.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = sorted({w for text in corpus for w in re.findall(WORDS, text)} | {"user", "assistant"})
    numbers = [f"{n}{end}" for end in ("", ",")[: 1 + commas] for n in range(0, 1001, step)]
    pieces = [*JSON_PIECES, *sorted(phrases, key=len, reverse=True)]
    whole = [*pieces, *numbers, *words]
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens = dict.fromkeys([*special, *alphabet, *("".join(t for t, _ in as_bytes.pre_tokenize_str(w)) for w in whole)])
    tokenizer = Tokenizer(BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[], ignore_merges=True))
    matched = [re.escape(p) + r"(?![A-Za-z])" * p[-1].isalpha() for p in pieces]
    pattern = "|".join([*matched, WORDS, r"[0-9]+,?" if commas else r"[0-9]+", r"[\s\S]"])
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


def gemma_tokenizer(
    corpus: Iterable[str], picture: str, start: str, stop: str, begin: str, end: str, image: str, *others: str
) -> PreTrainedTokenizerFast:
    """A tokenizer of the Gemma kind; `start` and `stop` enclose a turn, `begin` and `end` a picture."""
    special = ("<pad>", "<eos>", "<bos>", start, stop, begin, end, image, *others)
    names: dict[str, Any] = {"pad": "<pad>", "eos": "<eos>", "bos": "<bos>"}
    names |= {"image_token": image, "boi_token": begin, "eoi_token": end}
    return build_tokenizer([*corpus, "model"], special, gemma_template(picture, start, stop), **names)


def text_settings(tokenizer: Any, hidden: int = 64, layers: int = 2, heads: int = 4) -> dict[str, Any]:
    """Settings that tiny language models have in common; wide weights, so that a mistake moves log-probs visibly."""
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


def tower_settings(hidden: int = 32, patch: int = 14) -> dict[str, Any]:
    """Settings that tiny vision towers of the CLIP kind have in common, for pictures of SIDE pixels."""
    return {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": patch,
        "initializer_range": hidden**-0.5,
    }


def new_model(model_class: Any, config: Any, seed: int = 0) -> Any:
    """A model with random weights that the seed decides."""
    torch.manual_seed(seed)
    return model_class(config)


def save(folder: str | Path, model: Any, tokenizer: Any, image_processor: Any) -> None:
    """Write a model with its tokenizer and image processor, as `from_pretrained` reads them."""
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    image_processor.save_pretrained(folder)
