"""Names of the published MedVInT-TD state dict, and what they are called here.

The published model is a plain module: the trunk is an nn.Sequential, so its parts are numbers; attention has one matrix
for query, key and value; LLaMA lies within a PEFT model, whose layers were named otherwise before peft 0.6.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

STEM = {0: "conv1", 1: "bn1", 3: "conv2", 4: "bn2", 6: "conv3", 7: "bn3", 10: "layer1", 11: "layer2", 12: "layer3"}
LLAMA = r"llamacasual\.(?:base_model\.model\.)?"
RULES: tuple[tuple[str, str], ...] = (
    (r"query_embed\.(weight)", r"model.query_decoder.query_embed.\1"),
    (r"decoder\.(layers\.\d+\.(?:self_attn|linear[12]|norm[123])\..+|norm\..+)", r"model.query_decoder.\1"),
    (r"decoder\.(layers\.\d+)\.multihead_attn\.(.+)", r"model.query_decoder.\1.cross_attn.\2"),
    (r"fc_l([12])\.(weight|bias)", r"model.multi_modal_projector.linear_\1.\2"),
    (rf"{LLAMA}lm_head\.(weight)", r"lm_head.\1"),
    (rf"{LLAMA}model\.(.+)", r"model.language_model.\1"),
)
_TRUNK = re.compile(r"vision_model\.(\d+)\.(.+)")
_IN_PROJ = re.compile(r"(.+)\.in_proj_(weight|bias)")
_LORA = re.compile(r"(.+)\.lora_([AB])\.(?:default\.)?weight")
_DROPPED = re.compile(r".*\.rotary_emb\.inv_freq")


@dataclass(frozen=True)
class Part:
    """Where a tensor of the published file goes.

    Args:
        name: of the weight here.
        kind: `whole`; `q`, `k` or `v`, a third of its rows; `A` or `B`, a LoRA factor of the weight.
    """

    name: str
    kind: str = "whole"


def translate(key: str) -> tuple[Part, ...] | None:
    """What a published tensor becomes; () = it is left out, None = no tensor of MedVInT-TD is called so."""
    if _DROPPED.fullmatch(key):
        return ()
    if trunk := _TRUNK.fullmatch(key):
        part = STEM.get(int(trunk[1]))
        return None if part is None else (Part(f"model.vision_tower.{part}.{trunk[2]}"),)
    for pattern, replacement in RULES:
        if found := re.fullmatch(pattern, key):
            return _parts(found.expand(replacement))
    return None


def _parts(name: str) -> tuple[Part, ...]:
    if lora := _LORA.fullmatch(name):
        return (Part(f"{lora[1]}.weight", lora[2]),)
    if fused := _IN_PROJ.fullmatch(name):
        return tuple(Part(f"{fused[1]}.{one}_proj.{fused[2]}", one) for one in "qkv")
    return (Part(name.replace(".base_layer.", ".")),)


def diagnose(keys: Iterable[str], connector: str) -> str:
    """Why these are not the tensors of MedVInT-TD with this connector; empty if they may be.

    What each of the other checkpoints has that this one has not, or the reverse.
    """
    names = list(keys)

    def has(pattern: str) -> bool:
        return any(re.match(pattern, name) for name in names)

    if has(r"(text_encoder|qformer_|fusion_module|llama_model)"):
        return "MedVInT-TE, which fills masked tokens and cannot say free text: take a checkpoint of xmcmic/MedVInT-TD"
    if not has(r"vision_model\.") and not has(r"fc_l1"):
        return "no tensors of a MedVInT-TD model"
    if not has(rf"{LLAMA}model\.embed_tokens"):
        return (
            "no weights of its language model (llamacasual...embed_tokens): the full state dict is needed, not the "
            "trained part alone"
        )
    if has(r"vision_model\.vision_model\."):
        return (
            "the variant with a CLIP tower, 768 wide with 12 decoder heads; read is the one with PMC-CLIP, 1,024 wide "
            "with 8: take .../VQA_lora_PMC_LLaMA_PMCCLIP"
        )
    if connector == "queries" and not has(r"(decoder|query_embed)\."):
        return (
            "the MLP variant, with one image token in place of a query decoder: set convert.connector=mean; its "
            "vision relevance reward cannot be computed"
        )
    if connector == "mean" and has(r"(decoder|query_embed)\."):
        return "has a query decoder: set convert.connector=queries"
    return ""
