"""What a checkpoint's files say of its tokenizer, and tokens as text."""

from collections.abc import Callable, Sequence
from typing import Any

from transformers import GenerationConfig


def answer_ends(path: str, tokenizer: Any, names: Sequence[str]) -> tuple[int, ...]:
    """Every id that ends an answer, first the one that is taught: that of the first of `names`, or the tokenizer's."""
    try:
        configured = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:  # a checkpoint without generation_config.json
        configured = None
    vocabulary = tokenizer.get_vocab()
    listed = [configured] if isinstance(configured, int) else configured or []
    own = [vocabulary[name] for name in names if name in vocabulary]
    return tuple(dict.fromkeys([*own, tokenizer.eos_token_id, *listed]))


def split_text(ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[str]:
    """The text of each token; a character that spans several belongs to the token that completes it."""
    pieces = [decode([i]) for i in ids]
    whole = decode(ids)
    if "".join(pieces) == whole:
        return pieces
    ends = [len(decode(ids[:k]).rstrip("\ufffd")) for k in range(len(ids))]
    return [whole[a:b] for a, b in zip(ends, [*ends[1:], len(whole)], strict=True)]
