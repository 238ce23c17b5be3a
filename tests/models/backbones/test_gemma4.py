"""Gemma 4: a picture of any shape within a budget of tokens, shared keys and values, boxes as y, x JSON."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoConfig, AutoTokenizer
from transformers.models.gemma4 import image_processing_pil_gemma4

from umed.boxes import Box
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.backbones import gemma4
from umed.models.family import FamilyProcessor
from umed.models.policy import Policy
from umed.synthetic.parity import CHECKS, TinyModel
from umed.synthetic.parity.geometry import uncovered
from umed.synthetic.parity.tiny_model import CORPUS
from umed.synthetic.tiny_models.gemma4 import write_tiny

FAMILIES = ("gemma4",)
Prompts = Callable[..., list[Prompt]]

# height x width -> resized height x width, token rows x columns; the released patches of 16 px, pooled 3 x 3
VECTORS = {
    70: [((512, 512), (384, 384), (8, 8)), ((1072, 1920), (288, 528), (6, 11))],
    280: [
        ((512, 512), (768, 768), (16, 16)),
        ((1024, 1024), (768, 768), (16, 16)),
        ((320, 391), (720, 864), (15, 18)),
        ((576, 720), (672, 864), (14, 18)),
        ((332, 487), (624, 960), (13, 20)),
        ((3000, 200), (3072, 192), (64, 4)),
    ],
    1120: [((640, 640), (1584, 1584), (33, 33)), ((1072, 1920), (1200, 2112), (25, 44))],
}
# language models as they were released: the small ones, the large one, and the one with experts
RELEASED: dict[str, dict[str, Any]] = {
    "E2B": {"use_bidirectional_attention": None},
    "31B": {
        "num_kv_shared_layers": 0,
        "use_double_wide_mlp": False,
        "hidden_size_per_layer_input": 0,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
    },
    "26B-A4B": {
        "num_kv_shared_layers": 0,
        "use_double_wide_mlp": False,
        "hidden_size_per_layer_input": 0,
        "enable_moe_block": True,
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 32,
    },
}


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("budget", VECTORS)
def test_view_and_tokens_of_known_sizes(
    processor: FamilyProcessor, tiny_folder: Path, tmp_path: Path, make_prompts: Prompts, budget: int
) -> None:
    AutoConfig.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    image_processing_pil_gemma4.Gemma4ImageProcessorPil().save_pretrained(tmp_path)
    released = type(processor)(str(tmp_path), max_soft_tokens=budget)
    for size, seen, (rows, columns) in VECTORS[budget]:
        prompt = released.prompt(Image.new("RGB", size[::-1]), make_prompts(1)[0].record)
        view = prompt.view
        assert (view.height, view.width, view.seen_height, view.seen_width) == (*size, *seen)
        assert [(g.rows, g.columns) for g in view.grids] == [(rows, columns)]
        assert int((prompt.inputs["input_ids"] == released.image_id).sum()) == rows * columns <= budget
        assert float(view.patch_weights([Box(0, 0, 1, 1)]).sum()) == pytest.approx(rows * columns)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 900), st.integers(1, 900))
@example(2, 900)  # too thin for a whole token across: one column, the picture is squeezed
@example(900, 1)
@example(3, 3)
def test_tokens_stay_within_the_budget_and_tile_the_picture(
    processor: FamilyProcessor, width: int, height: int
) -> None:
    view = processor.encode_picture(Image.new("RGB", (width, height))).view
    (grid,) = view.grids
    assert 1 <= view.tokens <= 70
    assert (view.seen_height, view.seen_width) == (14 * grid.rows, 14 * grid.columns)
    assert uncovered(view) == 0
    ideal = math.sqrt(70 * 14 * 14 / (width * height)) / 14
    if min(width, height) * ideal >= 1:
        assert (grid.rows, grid.columns) == (math.floor(height * ideal), math.floor(width * ideal))


def test_the_settings_of_a_checkpoint_with_one_processor_file_are_read(tiny_folder: Path, tmp_path: Path) -> None:
    """As the family is released: the image processor stands inside `processor_config.json`."""
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_folder / name).read_bytes())
    own = json.loads((tiny_folder / "preprocessor_config.json").read_text())
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": own | {"max_soft_tokens": 140}}))
    assert gemma4.Gemma4Processor(str(tmp_path)).encode_picture(noise(112, 112)).view.tokens == 11 * 11


def test_an_answer_ends_with_its_turn_and_never_names_a_picture_or_thinks(processor: FamilyProcessor) -> None:
    assert processor.tokenizer.convert_ids_to_tokens(list(processor.eos_ids)) == ["<turn|>", "<eos>"]
    never = {"<|image>", "<image|>", "<|image|>", "<|video|>", "<|audio>", "<audio|>", "<|audio|>", "<|channel>"}
    assert set(processor.tokenizer.convert_ids_to_tokens(list(processor.suppressed_ids))) == never


def test_the_budget_is_one_of_the_familys_and_can_be_lowered(
    processor: FamilyProcessor, tiny_folder: Path, tmp_path: Path, make_prompts: Prompts
) -> None:
    assert gemma4.BUDGETS == image_processing_pil_gemma4._SUPPORTED_SOFT_TOKENS
    with pytest.raises(InputError, match=r"max_soft_tokens=100: choose 70, 140, 280, 560 or 1120"):
        type(processor)(str(tiny_folder), max_soft_tokens=100)
    record = make_prompts(1)[0].record
    large = type(processor)(str(tiny_folder), max_soft_tokens=280, max_prompt_tokens=180)
    with pytest.raises(InputError, match=f"{record.id}: the prompt .* set model.processor.max_soft_tokens=140 or less"):
        large.prompt(noise(112, 112), record)
    lowered = type(processor)(str(tiny_folder), max_soft_tokens=140, max_prompt_tokens=180)
    assert lowered.prompt(noise(112, 112), record).view.tokens == 121
    small = type(processor)(str(tiny_folder), max_prompt_tokens=60)
    with pytest.raises(InputError, match="60 .*: shorten the query") as error:  # nothing is smaller than 70
        small.prompt(noise(112, 112), record)
    assert "\n" not in str(error.value)
    AutoConfig.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    lowered.save(str(tmp_path))  # and the setting travels with the adapter
    assert type(processor)(str(tmp_path)).image_processor.max_soft_tokens == 140
    assert processor.image_processor.max_soft_tokens == 70


@pytest.mark.slow
@pytest.mark.parametrize("name", RELEASED)
def test_each_released_language_model_is_read_as_plain_transformers_reads_it(tmp_path: Path, name: str) -> None:
    write_tiny(tmp_path, CORPUS, **RELEASED[name])
    tiny = TinyModel("gemma4", tmp_path)
    for check in ("log-probs", "attention", "adapter"):
        function, limit = CHECKS[check]
        assert function(tiny) <= limit, check


@pytest.mark.parametrize("mistake", ["cap", "types", "window"])
def test_the_tiny_model_shows_a_mistake(policy: Callable[..., Policy], make_prompts: Prompts, mistake: str) -> None:
    """Logits that are not capped, picture tokens that do not see each other, a window that is not kept."""
    pi, prompts = policy(), make_prompts(2)
    ids, mask = torch.full((2, 4), 60), torch.ones(2, 4, dtype=torch.bool)
    with torch.no_grad():
        right = pi.score(prompts, ids, mask).logp_BT
        if mistake == "cap":
            pi.backbone = replace(pi.backbone, caps_logits=False)
        elif mistake == "types":
            pi.reader.backbone = replace(pi.backbone, extra_inputs=())
        else:
            pi.core.config.get_text_config().sliding_window = 1000
        wrong = pi.score(prompts, ids, mask).logp_BT
    assert float((right - wrong).abs().max()) > 1e-3
