"""A policy whose weights have shapes and no data, and prompts for it, from a model's configuration alone."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from transformers import AutoConfig, PreTrainedTokenizerFast
from transformers.utils import cached_file

import umed
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.adapters import add_adapter
from umed.models.attention import IMPLEMENTATION
from umed.models.backbone import Backbone
from umed.models.batch import TOKEN_INPUTS
from umed.models.critics.base import Critic
from umed.models.critics.shared import SharedCritic
from umed.models.family import FamilyProcessor
from umed.models.load import freeze
from umed.models.policy import Policy
from umed.models.weights import first_line
from umed.records import Record

PUBLISHED = Path(umed.__file__).parent / "models" / "published"  # shapes of the models in conf/model, by name
FILES = ("config.json", "preprocessor_config.json", "processor_config.json")
SHAPES = ((1344, 1344), (1344, 672), (672, 1344), (1344, 1008))  # of a picture; one takes most tokens
NF4 = 4.127 / 8  # bytes a weight: 4 bits, and scales of 64 weights in 8 bits, whose own scales are shared by 256


def build_processor(cfg: DictConfig) -> FamilyProcessor:
    """The processor of `cfg.model` with a stand-in tokenizer, in which every character is a token.

    Raises:
        InputError: no configuration of the family can be read.
    """
    path = str(cfg.model.path)
    with TemporaryDirectory() as name:
        folder = Path(name)
        _copy_files(path, folder)
        try:
            family = import_module(cfg.model.backbone).BACKBONE  # first: it may bring a model of its own
            config = AutoConfig.from_pretrained(folder)
            tokenizer = _build_tokenizer(family.processor_class)
            is_named = "image_token_id" if hasattr(config, "image_token_id") else "image_token_index"
            setattr(config, is_named, tokenizer.image_token_id)
            config.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            return instantiate(cfg.model.processor, path=name)
        except Exception as error:  # of a configuration that is not ours; hydra wraps what a constructor raises
            known = next((e for e in (error, error.__cause__) if isinstance(e, InputError)), None)
            message = str(known or f"model.path={path}: its configuration cannot be followed ({first_line(error)})")
            raise InputError(message.replace(name, path)) from error


def _copy_files(path: str, folder: Path) -> None:
    """The configuration of a model and of its image processor: the published one, or that of a folder or the hub."""
    published = PUBLISHED / f"{Path(path).name}.json"
    if published.is_file() and not Path(path).exists():
        shapes = json.loads(published.read_text(encoding="utf-8"))
        (folder / FILES[0]).write_text(json.dumps(shapes["config"]), encoding="utf-8")
        (folder / FILES[1]).write_text(json.dumps(shapes["image_processor"]), encoding="utf-8")
        return
    try:
        found = {file: cached_file(path, file, _raise_exceptions_for_missing_entries=False) for file in FILES}
    except OSError:  # a hub that cannot be reached
        found = dict.fromkeys(FILES)
    if not found[FILES[0]]:
        raise InputError(f"model.path={path}: no {FILES[0]} can be read there: give the folder or hub id of a model")
    for file, source in found.items():
        if source:
            shutil.copy(source, folder / file)


def _build_tokenizer(kind: type[FamilyProcessor]) -> Any:
    """Byte by byte, which is also what a family's own class makes of it."""
    special = ["<bos>", "<eos>", kind.image_token, kind.marker, *kind.suppressed, *kind.visible, *kind.ends]
    tokens = dict.fromkeys([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    content = "{% if c.type == 'image' %}" + kind.marker + "{% else %}{{ c.text }}{% endif %}"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<eos>",
        image_token=kind.image_token,
        extra_special_tokens=list(dict.fromkeys(special))[2:],
        padding_side="left",
        chat_template="{% for m in messages %}{% for c in m.content %}" + content + "{% endfor %}{% endfor %}",
    )


def encode_prompts(processor: FamilyProcessor, text_tokens: int) -> tuple[Prompt, Prompt]:
    """The longest prompt that a picture of any shape gives with so many tokens of text, and one that is shorter by one.

    A batch of both is padded, as batches are: then attention needs a mask.
    """

    prompts = []
    for size in SHAPES:
        record = Record("plan", "plan", "plan.png", *size, (), "normal", "CT", "plan", query="0" * text_tokens)
        prompts.append(processor.prompt(Image.new("RGB", size, "gray"), record))
    long = max(prompts, key=lambda prompt: prompt.view.tokens)
    short = {name: t[:-1] if name in TOKEN_INPUTS else t for name, t in long.inputs.items()}
    return long, replace(long, inputs=short)


def build_weightless(
    cfg: DictConfig,
    processor: FamilyProcessor,
    dropout: float | None = None,
    critic: Callable[..., Critic] = SharedCritic,
) -> Policy:
    """The policy of `cfg.model` on the meta device, in train mode, as `build_policy` makes it with a fresh adapter."""
    options, family = cfg.model, import_module(cfg.model.backbone).BACKBONE
    with torch.device("meta"):
        model = family.model_class._from_config(
            processor.config, dtype=getattr(torch, options.dtype), attn_implementation=IMPLEMENTATION
        )
        if options.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        if options.adapter:
            settings = instantiate(options.adapter, _convert_="all")
            model = add_adapter(model, {"target_modules": family.lora_targets, **settings}, dropout)
        else:
            freeze(model, options.frozen)
        read = options.attention.layers, options.attention.heads, options.attention.pool
        policy = Policy(model, processor, family, options.temperature, *read, critic, merge=cfg.engine.merge)
    return policy.train()


def quantized_bytes(policy: Policy) -> tuple[int, int]:
    """What 4 bits a weight save in the language model, and the largest weight that is unpacked for its product."""
    family: Backbone = policy.backbone
    kept = ("lm_head", *(f"model.{name}" for name in family.tower))
    sizes = [
        (m.weight.numel(), m.weight.element_size())
        for name, m in policy.core.named_modules()
        if isinstance(m, nn.Linear) and not name.startswith(kept) and not m.weight.requires_grad
    ]
    return int(sum(n * (size - NF4) for n, size in sizes)), max(n * size for n, size in sizes)
