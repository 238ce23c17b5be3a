"""Adapter folders: what they hold, whether they fit a model, and PEFT models made from them."""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from umed.errors import InputError
from umed.models.weights import check_tensors, first_line, read_tensors, shapes_of

ADAPTER, TENSORS = "adapter_config.json", "adapter_model.safetensors"
NOTE, HEAD = "umed.json", "value_head.safetensors"


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
    made_for = read_note(folder).get("model", {})
    here = shape_of(model)
    differs = [f"{k} {made_for[k]} there, {v} here" for k, v in here.items() if made_for.get(k, v) != v]
    if differs:
        raise InputError(f"init_from={folder}: this adapter is for another model than {path} ({'; '.join(differs)})")


def check_whole(folder: Path, path: str, processor: Any) -> None:
    """Refuse a whole model that takes the input of another processor than `path`'s."""
    try:
        vocabulary = AutoTokenizer.from_pretrained(folder).get_vocab()
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except Exception as error:  # of files that are not ours
        raise InputError(f"init_from={folder}: no model can be read there ({first_line(error)})") from error
    if kind != processor.model_type or vocabulary != processor.tokenizer.get_vocab():
        raise InputError(
            f"init_from={folder}: a whole {kind} model, trained from another one than {path}: set model and model.path "
            "to the one it was trained from"
        )


def read_note(folder: Path) -> dict[str, Any]:
    """What `save_adapter` noted of stage, method, seed and model; empty for an adapter made elsewhere.

    Raises:
        InputError: a note that is none.
    """
    path = folder / NOTE
    if not path.is_file():
        return {}
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return {**note, "model": dict(note["model"])}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not readable as the note of an adapter: restore it, or remove it") from None


def add_adapter(model: Any, settings: dict[str, Any], dropout: float | None) -> Any:
    """Wrap a model in a PEFT model with a fresh LoRA adapter; `dropout` overrides that of the settings."""
    from peft import LoraConfig, get_peft_model  # a second, which models without an adapter do not need

    from umed.models.summed_lora import sum_lora

    override = {} if dropout is None else {"lora_dropout": dropout}
    wrapped = get_peft_model(model, LoraConfig(**{**settings, **override}))
    sum_lora(wrapped)
    return wrapped


def load_adapter(model: Any, folder: Path, path: str, dropout: float | None) -> Any:
    """Wrap the model from `path` in a PEFT model with the adapter in `folder`.

    Raises:
        InputError: the adapter was made for another model, or is not whole.
    """
    from peft import PeftModel

    from umed.models.summed_lora import sum_lora

    check_adapter(folder, path, model)
    where = f"init_from={folder}: this adapter does not fit {path}"
    config, tensors = read_adapter(folder)
    if dropout is not None:
        config.lora_dropout = dropout
    try:
        wrapped = PeftModel(model, config)
    except Exception as error:  # peft raises whatever it stumbles on
        count = f"the file has {len(tensors)} tensors, 0 fit"
        raise InputError(f"{where}: {count}, for {ADAPTER} cannot be followed ({first_line(error)})") from error
    set_tensors(wrapped, "default", tensors, where)
    sum_lora(wrapped)
    return wrapped


def read_adapter(folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """The PEFT config of an adapter folder, to be trained on, and its tensors.

    Raises:
        InputError: one of the two cannot be read.
    """
    from peft import PeftConfig

    path = folder / ADAPTER
    try:
        with warnings.catch_warnings():  # that it ignores what it does not know: told below
            warnings.simplefilter("ignore")
            config = PeftConfig.from_pretrained(str(folder))
        options = json.loads(path.read_text(encoding="utf-8"))
    except Exception as error:  # of a file that is not ours
        raise InputError(f"{path}: no adapter of peft ({first_line(error)}): copy it again") from error
    if unknown := sorted(name for name, value in options.items() if value and not hasattr(config, name)):
        raise InputError(
            f"{path}: this version of peft has no {', '.join(unknown)} in {type(config).__name__}: update it"
        )
    config.inference_mode = False
    return config, read_tensors(folder / TENSORS)


def set_tensors(wrapped: Any, adapter: str, tensors: dict[str, Tensor], where: str) -> None:
    """Fill an adapter of a PEFT model; peft alone would leave out in silence what it has no place for.

    Args:
        adapter: its name in the model.
        tensors: of its file; names that peft itself translates for this version of transformers are no difference.
        where: begins the message.

    Raises:
        InputError: the file holds more, less or other tensors than the adapter.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    landed: list[dict[str, tuple[int, ...]]] = []  # what each call gives the model: name without the adapter's -> shape

    def note(module: Any, state: dict[str, Tensor], *rest: Any) -> None:
        landed.append({name.replace(f".{adapter}", ""): shape for name, shape in shapes_of(state).items()})

    watch = wrapped.register_load_state_dict_pre_hook(note)
    config, problem = wrapped.peft_config[adapter], ""
    base, config.base_model_name_or_path = config.base_model_name_or_path, None  # else peft looks there, or on the hub
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            initial = get_peft_model_state_dict(wrapped, adapter_name=adapter)
            set_peft_model_state_dict(wrapped, initial, adapter)
            set_peft_model_state_dict(wrapped, tensors, adapter)
    except (RuntimeError, KeyError, ValueError) as error:
        problem = first_line(error)
    finally:
        watch.remove()
        config.base_model_name_or_path = base
    expected, found = landed if len(landed) == 2 else (shapes_of(initial), shapes_of(tensors))
    check_tensors(where, expected, found, len(tensors))
    if problem:
        raise InputError(f"{where} ({problem})")
