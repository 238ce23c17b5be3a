"""LLaMA's tokenizer as MedVInT needs it, from the folder of PMC_LLaMA_7B."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import cached_file

from umed.errors import InputError
from umed.models.medvint.processing import IMAGE
from umed.models.weights import first_line

SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
FILES = ("tokenizer.json", "tokenizer.model")


def find_file(path: str, name: str) -> Path | None:
    """A file of a folder or hub id, None where it is not there."""
    try:
        found = cached_file(path, name, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):  # a hub that cannot be reached, or no name of a repository
        return None
    return Path(found) if found else None


def read_text_config(path: str) -> dict[str, Any]:
    """LLaMA's config.json; empty where there is none. Raises InputError: not JSON."""
    file = find_file(path, "config.json")
    if file is None:
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{file}: not readable as JSON ({first_line(error)}): copy it again") from None


def find_empty(path: str) -> list[str]:
    """The special tokens that a folder's tokenizer leaves empty, as PMC_LLaMA_7B's does.

    Transformers would look for the unknown token of an empty unknown token without an end.
    """
    file = find_file(path, "tokenizer_config.json")
    try:
        settings = {} if file is None else dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):  # told by who loads it
        return []
    tokens = {name: settings[name] for name in SPECIAL if name in settings}
    return [name for name, t in tokens.items() if not (t.get("content") if isinstance(t, dict) else t)]


def say_empty(names: Sequence[str]) -> str:
    """What is wrong and what to do."""
    wanted = ", ".join(f"{name} to {SPECIAL[name]}" for name in names)
    return f"its tokenizer has an empty {', '.join(names)}: in tokenizer_config.json set {wanted}"


def load_tokenizer(path: str, set_special: bool) -> Any:
    """The tokenizer with `<image>` behind its vocabulary.

    Args:
        set_special: whether LLaMA's special tokens are set where the folder leaves them empty, as PMC_LLaMA_7B does.

    Raises:
        InputError: there is none, it cannot be read, its special tokens are empty, or are others than LLaMA's.
    """
    found = [name for name in FILES if find_file(path, name)]
    if not found:
        raise InputError(
            f"convert.llama={path}: no tokenizer there ({' or '.join(FILES)}): give convert.llama=DIR, the folder or "
            "hub id of PMC_LLaMA_7B"
        )
    if found == ["tokenizer.model"] and find_spec("sentencepiece") is None:
        raise InputError(
            f"convert.llama={path}: its tokenizer.model is read with sentencepiece, which is not installed: "
            "pip install 'umed[medvint]'"
        )
    empty = find_empty(path)
    if empty and not set_special:
        raise InputError(
            f"convert.llama={path}: {say_empty(empty)}, or have that done with convert.special_tokens=true"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left", **{n: SPECIAL[n] for n in empty})
    except Exception as error:  # of files that are not ours
        raise InputError(f"convert.llama={path}: its tokenizer cannot be read ({first_line(error)})") from None
    vocabulary = tokenizer.get_vocab()
    if wrong := [token for number, token in enumerate(SPECIAL.values()) if vocabulary.get(token) != number]:
        raise InputError(
            f"convert.llama={path}: its tokenizer has {wrong[0]} as number {vocabulary.get(wrong[0])}, LLaMA's has "
            f"{list(SPECIAL.values()).index(wrong[0])}: give the tokenizer of PMC_LLaMA_7B"
        )
    tokenizer.pad_token = SPECIAL["unk_token"]  # number 0, as in the published training
    tokenizer.add_special_tokens({"extra_special_tokens": [IMAGE]})
    return tokenizer
