"""Adapter folders: what they hold, whether they fit a model, and PEFT models made from them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer

from umed.errors import InputError

ADAPTER, NOTE, HEAD = "adapter_config.json", "umed.json", "value_head.safetensors"


def adapter_folder(where: str) -> Path:
    """The adapter folder of a run, or the folder itself."""
    for folder in (Path(where), Path(where) / "adapter"):
        if (folder / ADAPTER).is_file() or ((folder / NOTE).is_file() and (folder / "config.json").is_file()):
            return folder
    raise InputError(f"init_from={where}: no {ADAPTER} there or in its adapter/ folder: give a run or adapter folder")


def shape_of(model: Any) -> dict[str, Any]:
    """Properties of a model that an adapter made for it depends on.

    `weights` is a short hash of the first token embeddings, which tells models of the same shape apart.
    """
    text, embeddings = model.config.get_text_config(), model.get_input_embeddings()
    embeddings = getattr(embeddings, "original_module", embeddings)  # as it was, where it is trained
    rows = embeddings.weight[:64].detach().cpu().to(torch.bfloat16).view(torch.int16)
    return {
        "model_type": model.config.model_type,
        "hidden_size": text.hidden_size,
        "num_hidden_layers": text.num_hidden_layers,
        "vocab_size": text.vocab_size,
        "weights": hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:16],
    }


def check_adapter(folder: Path, path: str, model: Any) -> None:
    """Refuse an adapter that was trained on another model."""
    note = folder / NOTE
    if not note.is_file():
        return  # made elsewhere: peft's own checks apply
    try:
        made_for = dict(json.loads(note.read_text(encoding="utf-8"))["model"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{note}: not readable as the note of an adapter: restore it, or remove it") from None
    here = shape_of(model)
    differs = [f"{k} {made_for[k]} there, {v} here" for k, v in here.items() if made_for.get(k, v) != v]
    if differs:
        raise InputError(f"init_from={folder}: this adapter is for another model than {path} ({'; '.join(differs)})")


def check_whole(folder: Path, path: str, processor: Any) -> None:
    """Refuse a whole model that takes the input of another processor than `path`'s."""
    vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != processor.model_type or vocabulary != processor.tokenizer.get_vocab():
        raise InputError(
            f"init_from={folder}: a whole {kind} model, trained from another one than {path}: set model and model.path "
            "to the one it was trained from"
        )


def read_note(folder: Path) -> dict[str, Any]:
    """What `save_adapter` noted of stage, method and seed; empty for an adapter made elsewhere."""
    path = folder / NOTE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def add_adapter(model: Any, settings: dict[str, Any], dropout: float | None) -> Any:
    """Wrap a model in a PEFT model with a fresh LoRA adapter; `dropout` overrides that of the settings."""
    from peft import LoraConfig, get_peft_model  # a second, which models without an adapter do not need

    override = {} if dropout is None else {"lora_dropout": dropout}
    return get_peft_model(model, LoraConfig(**{**settings, **override}))


def load_adapter(model: Any, folder: Path, path: str, dropout: float | None) -> Any:
    """Wrap the model from `path` in a PEFT model with the adapter in `folder`.

    Raises:
        InputError: the adapter was made for another model.
    """
    from peft import PeftConfig, PeftModel

    check_adapter(folder, path, model)
    config = PeftConfig.from_pretrained(str(folder))
    if dropout is not None:
        config.lora_dropout = dropout
    try:
        return PeftModel.from_pretrained(model, str(folder), is_trainable=True, config=config)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"init_from={folder}: this adapter does not fit {path} ({first_line(error)})") from None


def first_line(error: Exception) -> str:
    """The first line of a library's error, for our one line."""
    return str(error).strip().splitlines()[0]
