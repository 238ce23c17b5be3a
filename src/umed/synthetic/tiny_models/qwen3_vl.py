"""A random Qwen3-VL of any size; the embedded base model starts as one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from umed.synthetic import tiny

MARKERS = {"image_token_id": "image_pad", "video_token_id": "video_pad", "vision_start_token_id": "vision_start",
           "vision_end_token_id": "vision_end"}  # fmt: skip
SMALL: dict[str, Any] = {"hidden": 64, "layers": 2, "vision_layers": 2, "patch": 14, "merge": 2, "max_pixels": 112**2}


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    build(folder, corpus, **SMALL)


def build(
    folder: str | Path,
    corpus: Iterable[str],
    *,
    seed: int = 0,
    hidden: int = 128,
    layers: int = 4,
    vision_layers: int = 4,
    patch: int = 16,
    merge: int = 1,
    max_pixels: int = 128 * 128,
    **tokens: Any,
) -> None:
    """Write a model of about 2 M parameters, or of other sizes, with tokenizer and image processor to `folder`.

    Args:
        merge: patches along each side of an image token.
        tokens: settings of the tokenizer, see `tiny.build_tokenizer`.
    """
    tokenizer = tiny.build_tokenizer(corpus, **tokens)
    text = text_settings(tokenizer, hidden, layers)
    text["rope_parameters"]["mrope_interleaved"] = True  # as published ones say it; transformers knows no other way
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=tower_settings(hidden, vision_layers, patch)
        | {
            "spatial_merge_size": merge,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [vision_layers // 2 - 1],
        },
        **common_settings(tokenizer, hidden),
    )
    model = tiny.new_model(Qwen3VLForConditionalGeneration, config, seed)
    tiny.save(folder, model, tokenizer, image_processor(patch, max_pixels, merge))


def common_settings(tokenizer: Any, hidden: int) -> dict[str, Any]:
    """Settings of the whole model in the Qwen-VL families."""
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in MARKERS.items()}
    return {"tie_word_embeddings": True, "initializer_range": hidden**-0.5, **ids}


def text_settings(tokenizer: Any, hidden: int, layers: int) -> dict[str, Any]:
    pairs = hidden // 4 // 2  # rotary pairs of a head
    side = pairs // 4
    return tiny.text_settings(tokenizer, hidden, layers) | {
        "intermediate_size": 3 * hidden,
        "rope_parameters": {**tiny.ROPE, "mrope_section": [pairs - 2 * side, side, side]},
        "tie_word_embeddings": True,
    }


def tower_settings(hidden: int, layers: int, patch: int) -> dict[str, Any]:
    return {
        "depth": layers,
        "hidden_size": hidden,
        "intermediate_size": 3 * hidden,
        "num_heads": 4,
        "out_hidden_size": hidden,
        "patch_size": patch,
        "initializer_range": hidden**-0.5,
    }


def image_processor(patch: int, max_pixels: int, merge: int = 2) -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil(
        patch_size=patch, merge_size=merge, min_pixels=(4 * patch) ** 2, max_pixels=max_pixels
    )
