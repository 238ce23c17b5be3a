"""Build a `Policy` from a checkpoint folder or hub id, with a fresh or an existing adapter."""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, BitsAndBytesConfig

from umed.chat import Processor
from umed.errors import InputError, check_choice
from umed.models.attention import IMPLEMENTATION
from umed.models.backbone import Backbone
from umed.models.critic import SharedCritic
from umed.models.policy import Policy
from umed.models.reader import Reader
from umed.records import write_whole

ADAPTER, NOTE, HEAD = "adapter_config.json", "umed.json", "value_head.safetensors"


def load_policy(
    path: str,
    processor: Processor,
    backbone: str,
    adapter: dict[str, Any] | None = None,
    init_from: str | None = None,
    dropout: float | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    temperature: float = 1.0,
    attention_layers: Sequence[int] | None = None,
    attention_heads: Sequence[int] | None = None,
    attention_pool: Literal["mean", "max"] = "mean",
    critic: Callable[[Any, Reader], SharedCritic] = SharedCritic,
    gradient_checkpointing: bool = False,
    quantization: Literal["4bit"] | None = None,
    frozen: Sequence[str] = (),
    seed: int = 0,
) -> Policy:
    """The model at `path`, its LoRA adapter, and a value head.

    Args:
        backbone: module of the model family, `umed.models.backbones.<name>`.
        adapter: arguments of peft's LoraConfig for a fresh adapter, the targets the family's own unless given; None
            trains every weight.
        init_from: an `adapter/` folder, or a run folder that holds one, to start from instead. Where every weight was
            trained, it holds the whole model, which takes the place of `path`.
        quantization: `4bit` keeps the language model's frozen weights in NF4 under the adapter (QLoRA).
        frozen: names of modules that stay as they are where every weight is trained, e.g. `visual.blocks`.
        dropout: of the adapter, over the stored value (paper: none in rewarding).

    Raises:
        InputError: no checkpoint, or an adapter that was made for another model.
    """
    check_choice("model.dtype", dtype, "float32", "bfloat16", "float16")
    family: Backbone = import_module(backbone).BACKBONE
    torch.manual_seed(seed)
    folder = adapter_folder(init_from) if init_from else None
    whole = folder is not None and not (folder / ADAPTER).is_file()
    if folder is not None and whole:
        check_whole(folder, path, processor)
        path, adapter = str(folder), None
    extra = {} if quantization is None else quantized(quantization, family, dtype, device, adapter or folder)
    try:
        model: Any = family.model_class.from_pretrained(
            path, dtype=getattr(torch, dtype), attn_implementation=IMPLEMENTATION, **extra
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"model.path={path}: cannot be loaded ({_first_line(error)})") from None
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if folder is not None and not whole:
        check_adapter(folder, path, model)
        config = PeftConfig.from_pretrained(str(folder))
        if dropout is not None:
            config.lora_dropout = dropout
        try:
            model = PeftModel.from_pretrained(model, str(folder), is_trainable=True, config=config)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(f"init_from={folder}: this adapter does not fit {path} ({_first_line(error)})") from None
    elif adapter is not None:
        own = {} if dropout is None else {"lora_dropout": dropout}
        model = get_peft_model(model, LoraConfig(**{"target_modules": family.lora_targets, **adapter, **own}))
    else:
        freeze(model, frozen)
    policy = Policy(model, processor, family, temperature, attention_layers, attention_heads, attention_pool, critic)
    if folder is not None and (folder / HEAD).is_file():
        note = json.loads((folder / NOTE).read_text(encoding="utf-8")) if (folder / NOTE).is_file() else {}
        if note.get("critic") in (None, type(policy.critic).__name__):  # another one's head knows other states
            policy.value_head.load_state_dict(load_file(folder / HEAD))
            policy.critic.load(folder)
    return policy.to(device).train()  # transformers checkpoints in train mode only, and loads in eval mode


def build_policy(
    cfg: DictConfig,
    init_from: str | None,
    dropout: float | None = None,
    device: str = "cpu",
    critic: Callable[..., SharedCritic] = SharedCritic,
) -> Policy:
    """The policy of `cfg.model`, from its base weights or from an adapter."""
    model = cfg.model
    return load_policy(
        model.path,
        instantiate(model.processor),
        model.backbone,
        adapter=instantiate(model.adapter, _convert_="all") if model.adapter else None,
        init_from=init_from,
        dropout=dropout,
        dtype=model.dtype,
        device=device,
        temperature=model.temperature,
        attention_layers=model.attention.layers,
        attention_heads=model.attention.heads,
        attention_pool=model.attention.pool,
        critic=critic,
        gradient_checkpointing=model.gradient_checkpointing,
        quantization=model.quantization,
        frozen=model.frozen,
        seed=cfg.seed,
    )


def quantized(kind: str, family: Backbone, dtype: str, device: str, adapter: Any) -> dict[str, Any]:
    """How `from_pretrained` quantizes the language model.

    Raises:
        InputError: nothing that could be trained on top, or bitsandbytes is not installed.
    """
    check_choice("model.quantization", kind, "4bit")
    if not adapter:
        raise InputError(
            "model.quantization=4bit needs an adapter to train, but model.adapter=null: set one of the two"
        )
    if find_spec("bitsandbytes") is None:
        raise InputError("model.quantization=4bit needs bitsandbytes: pip install 'umed[qlora]'")
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
        llm_int8_skip_modules=["lm_head", *(f"model.{name}" for name in family.tower)],
    )
    where = "cuda" if torch.cuda.is_available() else device
    return {"quantization_config": config, "device_map": {"": where}}


def freeze(model: Any, names: Sequence[str]) -> None:
    """Keep the modules of these names fixed.

    Raises:
        InputError: a name that is no module's.
    """
    for name in names:
        parts: list[Any] = [*model.named_modules(), *model.named_parameters()]
        found = [m for n, m in parts if f".{n}".endswith(f".{name}")]
        if not found:
            raise InputError(f"model.frozen: no module or weight is called {name}")
        for part in found:
            part.requires_grad_(False)


def adapter_folder(where: str) -> Path:
    """The adapter folder of a run, or the folder itself."""
    for folder in (Path(where), Path(where) / "adapter"):
        if (folder / ADAPTER).is_file() or ((folder / NOTE).is_file() and (folder / "config.json").is_file()):
            return folder
    raise InputError(f"init_from={where}: no {ADAPTER} there or in its adapter/ folder: give a run or adapter folder")


def shape_of(model: Any) -> dict[str, Any]:
    """What an adapter depends on, to tell whether it fits."""
    text = model.config.get_text_config()
    return {
        "model_type": model.config.model_type,
        "hidden_size": text.hidden_size,
        "num_hidden_layers": text.num_hidden_layers,
        "vocab_size": text.vocab_size,
        "weights": fingerprint(model),
    }


def fingerprint(model: Any) -> str:
    """A short hash of the first token embeddings: models of one shape have different ones."""
    embeddings = model.get_input_embeddings()
    embeddings = getattr(embeddings, "original_module", embeddings)  # as it was, where it is trained
    rows = embeddings.weight[:64].detach().cpu().to(torch.bfloat16)
    return hashlib.sha256(rows.view(torch.int16).numpy().tobytes()).hexdigest()[:16]


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
    """Refuse a whole model that another processor than `path`'s prepares its input for."""
    theirs = AutoTokenizer.from_pretrained(folder).get_vocab()
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != processor.model_type or theirs != processor.tokenizer.get_vocab():
        raise InputError(
            f"init_from={folder}: a whole {kind} model, trained from another one than {path}: set model and model.path "
            "to the one it was trained from"
        )


def save_adapter(policy: Policy, folder: Path, note: dict[str, Any]) -> None:
    """`adapter/`: PEFT weights (or the full model), processor, value head, `umed.json`; loads without Lightning."""
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = policy.model
    only = {"selected_adapters": ["default"]} if hasattr(model, "peft_config") else {}
    model.save_pretrained(folder, **only)
    policy.critic.save(folder)
    policy.processor.save(str(folder))
    head = {n: v.detach().cpu().contiguous() for n, v in policy.value_head.state_dict().items()}
    save_file(head, folder / HEAD)
    write_whole(
        folder / NOTE,
        json.dumps({**note, "critic": type(policy.critic).__name__, "model": shape_of(policy.core)}, indent=1) + "\n",
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
