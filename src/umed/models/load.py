"""Build a `Policy` from a checkpoint folder or hub id, with a fresh or an existing adapter."""

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from safetensors.torch import save_file
from transformers import BitsAndBytesConfig

from umed.chat import Processor
from umed.errors import InputError, check_choice
from umed.models.adapters import (
    ADAPTER,
    HEAD,
    NOTE,
    adapter_folder,
    add_adapter,
    check_whole,
    load_adapter,
    read_note,
    shape_of,
)
from umed.models.attention import IMPLEMENTATION
from umed.models.backbone import Backbone
from umed.models.critics.base import Critic
from umed.models.critics.shared import SharedCritic
from umed.models.feature_store import FeatureStore, shared_store
from umed.models.patches import embed_patches_as_products
from umed.models.policy import Policy
from umed.models.reader import Reader
from umed.models.weights import check_tensors, load_whole, read_tensors, shapes_of
from umed.run_files import write_whole


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
    critic: Callable[[Any, Reader], Critic] = SharedCritic,
    gradient_checkpointing: bool = False,
    quantization: Literal["4bit"] | None = None,
    frozen: Sequence[str] = (),
    seed: int = 0,
    feature_store: FeatureStore | None = None,
    merge: str | bool = "auto",
) -> Policy:
    """The model at `path`, its LoRA adapter, and a value head.

    Args:
        backbone: module of the model family, `umed.models.backbones.<name>`.
        adapter: arguments of peft's LoraConfig for a fresh adapter, the targets the family's own unless given; None
            trains every weight.
        init_from: an `adapter/` folder, or a run folder that holds one, to start from instead. Where every weight was
            trained, it holds the whole model, which takes the place of `path`.
        quantization: `4bit` keeps the language model's frozen weights in NF4 under the adapter (QLoRA).
        frozen: names of modules that are not trained where all others are, e.g. `visual.blocks`.
        dropout: of the adapter, instead of the stored value (paper: none in rewarding).
        feature_store: keeps the features of pictures while the tower is not trained.
        merge: whether the adapter is merged while answers are decoded, `auto`, `true` or `false`.

    Raises:
        InputError: no checkpoint, one with other tensors than its model expects, or an adapter for another model.
    """
    check_choice("model.dtype", dtype, "float32", "bfloat16", "float16")
    family: Backbone = import_module(backbone).BACKBONE
    torch.manual_seed(seed)
    folder = adapter_folder(init_from) if init_from else None
    whole = folder is not None and not (folder / ADAPTER).is_file()
    if folder is not None and whole:
        check_whole(folder, path, processor)
        path, adapter = str(folder), None
    extra = {} if quantization is None else quantization_options(quantization, family, dtype, device, adapter or folder)
    where = f"init_from={init_from}" if whole else f"model.path={path}"
    extra |= {"dtype": getattr(torch, dtype), "attn_implementation": IMPLEMENTATION}
    model = load_whole(family.model_class, path, where, **extra)
    embed_patches_as_products(model)
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if folder is not None and not whole:
        model = load_adapter(model, folder, path, dropout)
    elif adapter is not None:
        model = add_adapter(model, {"target_modules": family.lora_targets, **adapter}, dropout)
    else:
        freeze(model, frozen)
    attention = attention_layers, attention_heads, attention_pool
    policy = Policy(model, processor, family, temperature, *attention, critic, feature_store, merge)
    if folder is not None and (folder / HEAD).is_file():
        critic_name = read_note(folder).get("critic")
        if critic_name in (None, type(policy.critic).__name__):  # the head of another critic takes other inputs
            head, expected = read_tensors(folder / HEAD), policy.value_head.state_dict()
            check_tensors(f"{folder / HEAD}: not the head of this critic", shapes_of(expected), shapes_of(head))
            policy.value_head.load_state_dict(head)
            policy.critic.load(folder)
    return policy.to(device).train()  # transformers checkpoints in train mode only, and loads in eval mode


def build_policy(
    cfg: DictConfig,
    init_from: str | None,
    dropout: float | None = None,
    device: str = "cpu",
    critic: Callable[..., Critic] = SharedCritic,
) -> Policy:
    """The policy of `cfg.model`, from its base weights or from an adapter."""
    model = cfg.model
    kept: dict[str, Any] = {}
    if "engine" in cfg:  # not in configs of old runs
        kept = {"feature_store": shared_store(**cfg.engine.features), "merge": cfg.engine.merge}
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
        **kept,
    )


def trains_whole(cfg: DictConfig) -> bool:
    """Whether weights of the model itself are trained: without an adapter all, beside a fresh one `modules_to_save`."""
    if cfg.init_from:
        return not (adapter_folder(cfg.init_from) / ADAPTER).is_file()
    return not cfg.model.adapter or bool(cfg.model.adapter.get("modules_to_save"))


def quantization_options(kind: str, family: Backbone, dtype: str, device: str, adapter: Any) -> dict[str, Any]:
    """Arguments of `from_pretrained` that quantize the language model.

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
    return {"quantization_config": config, "device_map": {"": device}}


def freeze(model: Any, names: Sequence[str]) -> None:
    """Exclude the modules and weights of these names from training.

    Raises:
        InputError: a name that is no module's.
    """
    for name in names:
        parts: list[Any] = [*model.named_modules(), *model.named_parameters()]
        named = [m for n, m in parts if f".{n}".endswith(f".{name}")]
        if not named:
            raise InputError(f"model.frozen: no module or weight is called {name}")
        for part in named:
            part.requires_grad_(False)


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
