"""The published MedVInT-TD state dict as a folder that transformers loads: no tensor is lost or drawn at random."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from umed.errors import InputError
from umed.models.medvint.configuration import LLAMA_7B, STRIDE, MedVInTConfig
from umed.models.medvint.modeling import MedVInTForConditionalGeneration
from umed.models.medvint.published import Part, translate
from umed.models.medvint.stream import DTYPES, Planned, write_safetensors

HEAD_SIZE = 128  # of LLaMA's attention
THIRDS = {"q": 0, "k": 1, "v": 2}


@dataclass
class Sources:
    """The published tensors by what they become.

    Args:
        whole: weight here -> its tensor, or a third of it.
        lora: weight here -> its factors A (r, in) and B (out, r).
        became: published name -> names here and how; unknown: published names that are none of the model.
    """

    whole: dict[str, Tensor] = field(default_factory=dict)
    lora: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    became: dict[str, dict[str, Any]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    @property
    def rank(self) -> int:
        """r of the LoRA factors, 0 without any."""
        return max((len(pair["A"]) for pair in self.lora.values() if "A" in pair), default=0)


def sort_tensors(entries: Mapping[str, Any], keep_lora: bool) -> Sources:
    """Every entry of the file in its place; tensors stay mapped."""
    sources = Sources()
    for key, value in entries.items():
        parts = translate(key)
        if parts is None or not isinstance(value, Tensor) or value.dtype not in DTYPES:
            sources.unknown.append(key)
            continue
        for part in parts:
            _sort(sources, part, value)
        sources.became[key] = {"to": [p.name for p in parts], "how": _say_how(parts, keep_lora)}
    return sources


def _sort(sources: Sources, part: Part, value: Tensor) -> None:
    if part.kind in ("A", "B"):
        sources.lora.setdefault(part.name, {})[part.kind] = value
    elif part.kind in THIRDS:
        sources.whole[part.name] = value.tensor_split(3)[THIRDS[part.kind]]
    else:
        sources.whole[part.name] = value


def _say_how(parts: Sequence[Part], keep_lora: bool) -> str:
    if not parts:
        return "left out"
    if parts[0].kind in ("A", "B"):
        return "adapter" if keep_lora else "merged"
    return "renamed" if len(parts) == 1 else "split"


def infer_config(sources: Sources, text: Mapping[str, Any], **known: Any) -> MedVInTConfig:
    """The configuration of the tensors.

    Args:
        text: of LLaMA's config.json, what tensors do not reveal; it may be empty.
        known: of `MedVInTConfig`, what tensors do not reveal.

    Raises:
        InputError: heads that are not known, or that do not fit the width.
    """
    shapes = {name: tuple(t.shape) for name, t in sources.whole.items()}
    language, decoder, tower = "model.language_model.", "model.query_decoder.", "model.vision_tower."
    vocabulary, hidden = shapes[f"{language}embed_tokens.weight"]
    heads = text.get("num_attention_heads") or (None if hidden % HEAD_SIZE else hidden // HEAD_SIZE)
    if heads is None or hidden % heads:
        raise InputError(
            f"convert.text_heads={heads}: the language model is {hidden} wide and its tensors do not reveal the number "
            "of its attention heads: set it, or give LLaMA's config.json, convert.llama=DIR"
        )
    head_size = hidden // heads
    inferred = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": shapes.get(f"{language}layers.0.mlp.gate_proj.weight", (0,))[0],
        "num_hidden_layers": _count(shapes, f"{language}layers."),
        "num_attention_heads": heads,
        "num_key_value_heads": shapes.get(f"{language}layers.0.self_attn.k_proj.weight", (hidden,))[0] // head_size,
    }
    kept = {
        k: text[k] for k in ("rms_norm_eps", "max_position_embeddings", "rope_theta", "rope_parameters") if k in text
    }
    settings: dict[str, Any] = {
        "vision_layers": [_count(shapes, f"{tower}layer{n}.") for n in (1, 2, 3)],
        "vision_width": shapes.get(f"{tower}conv3.weight", (64,))[0],
        "connector": "queries" if any(name.startswith(decoder) for name in shapes) else "mean",
        "num_queries": shapes.get(f"{decoder}query_embed.weight", (32,))[0],
        "decoder_layers": _count(shapes, f"{decoder}layers."),
        "decoder_ffn": shapes.get(f"{decoder}layers.0.linear1.weight", (1024,))[0],
        **known,
    }
    width = settings["vision_width"] * STRIDE
    found = shapes.get(f"{decoder}query_embed.weight", (0, width))[1]
    if found != width or width % settings["decoder_heads"]:
        raise InputError(
            f"convert.decoder_heads={settings['decoder_heads']}: the decoder is {found} wide behind patches of {width} "
            "channels; 12 heads belong to the variant with a CLIP tower (768 wide), which is not read: the published "
            "one with PMC-CLIP has 8 heads and 1024 channels"
        )
    return MedVInTConfig(text_config={**LLAMA_7B, **inferred, **kept}, **settings)


def _count(shapes: Mapping[str, Any], prefix: str) -> int:
    """Numbered parts behind a prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})


def check_complete(config: MedVInTConfig, sources: Sources) -> tuple[list[str], list[str]]:
    """Names that the model expects and the file lacks, and names of the file that the model does not expect.

    A tensor of another shape is in both.
    """
    with torch.device("meta"):
        expected = MedVInTForConditionalGeneration(config).state_dict()
    found = {name: tuple(tensor.shape) for name, tensor in sources.whole.items()}
    missing = [name for name, tensor in expected.items() if found.get(name) != tuple(tensor.shape)]
    unexpected = [
        f"{name} {list(shape)}" for name, shape in found.items() if name not in expected or name in set(missing)
    ]
    for name, pair in sources.lora.items():
        shape, r = found.get(name), sources.rank
        wanted = {} if shape is None else {"A": (r, shape[1]), "B": (shape[0], r)}
        missing += [f"{name} (LoRA {k})" for k in wanted if k not in pair]
        unexpected += [f"{name} (LoRA {k})" for k, t in pair.items() if wanted.get(k) != tuple(t.shape)]
    return missing, [*sources.unknown, *unexpected]


def write_weights(out: Path, sources: Sources, scale: float | None, dtype: torch.dtype | None) -> int:
    """Write `model.safetensors`, one tensor in memory at a time; bytes written.

    Args:
        scale: alpha / r, by which LoRA is merged; None = the weights as they are.
        dtype: of floating-point tensors, None = as stored.
    """

    def plan(name: str, tensor: Tensor) -> Planned:
        pair = sources.lora.get(name) if scale is not None else None
        to = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        return Planned(name, tuple(tensor.shape), to, lambda: tensor if pair is None else _merge(tensor, pair, scale))

    return write_safetensors(out / "model.safetensors", [plan(*item) for item in sources.whole.items()])


def _merge(weight: Tensor, pair: Mapping[str, Tensor], scale: Any) -> Tensor:
    """W + alpha / r B A, computed in fp32."""
    return weight.float() + (pair["B"].float() @ pair["A"].float()) * scale


def write_adapter(out: Path, sources: Sources, alpha: float, base: Path) -> None:
    """The LoRA factors as a PEFT folder for the unmerged weights."""
    from peft import LoraConfig  # a second to import

    out.mkdir(parents=True, exist_ok=True)
    planned = []
    for name, pair in sources.lora.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        for factor, tensor in pair.items():
            planned.append(Planned(f"{stem}.lora_{factor}.weight", tuple(tensor.shape), tensor.dtype, _give(tensor)))
    write_safetensors(out / "adapter_model.safetensors", planned)
    layers = sorted({name.split(".")[-2] for name in sources.lora})
    config = LoraConfig(
        r=sources.rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=0.1,
        target_modules=rf".*language_model.*\.({'|'.join(layers)})",
        base_model_name_or_path=str(base),
        inference_mode=True,
    )
    config.save_pretrained(str(out))


def _give(tensor: Tensor) -> Any:
    return lambda: tensor
