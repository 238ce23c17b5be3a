"""Llama-3.2-Vision: the picture enters by cross attention; no reward may read attention that is not there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import MllamaProcessor

from umed.chat import Prompt
from umed.errors import InputError
from umed.methods.sampler import Sampler
from umed.models.family import FamilyProcessor
from umed.models.policy import Policy

FAMILIES = ("mllama",)
Prompts = Callable[..., list[Prompt]]


@pytest.mark.parametrize("size", [(56, 56), (200, 60), (60, 200)])
def test_the_prompt_and_its_mask_are_those_of_the_familys_processor(
    processor: FamilyProcessor, make_prompts: Prompts, size: tuple[int, int]
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    prompt = processor.prompt(image, make_prompts(1)[0].record)
    theirs = MllamaProcessor(processor.image_processor, processor.tokenizer)
    out = theirs(images=image, text=processor.text(prompt.record.query), return_tensors="pt", add_special_tokens=False)
    assert out["input_ids"][0].tolist() == prompt.inputs["input_ids"].tolist()
    assert torch.equal(out["cross_attention_mask"][0], prompt.inputs["cross_attention_mask"])
    for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask"):
        torch.testing.assert_close(out[name], prompt.inputs[name])


def test_the_attention_reward_is_refused_in_one_line_and_the_rest_works(
    policy: Callable[..., Policy], make_prompts: Prompts
) -> None:
    pi, prompts = policy(), make_prompts(2)
    with pytest.raises(InputError, match="Llama-3.2-Vision has no image tokens.*leave it out") as error:
        Sampler(2, 4)(pi, prompts, frozenset({"attention"}), torch.Generator())
    assert "\n" not in str(error.value)
    rollout = Sampler(2, 4)(pi, prompts, frozenset({"text", "boxes"}), torch.Generator())
    assert rollout.region_BP.shape == (4, 0) and rollout.logp_BT.isfinite().all()


def test_the_answer_sees_the_tiles_of_its_own_picture(
    policy: Callable[..., Policy], make_prompts: Prompts, tiny_folder: Path
) -> None:
    """With the mask left out in the answer pass the empty tiles would count."""
    pi, prompts = policy(), make_prompts(2, (56, 56), (200, 60))
    ids, mask = torch.full((2, 3), 60), torch.ones(2, 3, dtype=torch.bool)
    right = pi.score(prompts, ids, mask).logp_BT
    read = pi.reader.read_prompts

    def without(*args):
        prefix = read(*args)
        prefix.rows = {}
        return prefix

    pi.reader.read_prompts = without
    assert (pi.score(prompts, ids, mask).logp_BT - right).abs()[0].max() > 1e-3
