"""Llama-3.2-Vision: the picture enters by cross attention; no reward may read attention that is not there."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from umed.boxes import Box
from umed.chat import Prompt
from umed.engine.engine import Engine
from umed.errors import InputError
from umed.methods.sampler import Sampler
from umed.models.backbones.mllama import MllamaProcessor as Ours
from umed.models.family import FamilyProcessor
from umed.models.load import load_policy
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.synthetic import tiny
from umed.synthetic.tiny_models import mllama

FAMILIES = ("mllama",)
Prompts = Callable[..., list[Prompt]]


def test_the_attention_reward_is_refused_in_one_line_and_the_rest_works(
    policy: Callable[..., Policy], make_prompts: Prompts
) -> None:
    pi, prompts = policy(), make_prompts(2)
    with pytest.raises(InputError, match="Llama-3.2-Vision has no image tokens.*leave it out") as error:
        Sampler(2, 4)(Engine(pi), prompts, frozenset({"attention"}), Noise(0))
    assert "\n" not in str(error.value)
    rollout = Sampler(2, 4)(Engine(pi), prompts, frozenset({"text", "boxes"}), Noise(0))
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
        prefix.inputs = {}
        return prefix

    pi.reader.read_prompts = without
    assert (pi.score(prompts, ids, mask).logp_BT - right).abs()[0].max() > 1e-3


@pytest.mark.parametrize(
    ("size", "tiles", "shape"),
    [
        ((56, 56), 1, (1, 1)),
        ((112, 50), 2, (1, 2)),
        ((50, 112), 2, (2, 1)),
        ((100, 110), 4, (2, 2)),
        ((400, 40), 4, (1, 4)),
        ((1, 900), 4, (4, 1)),
    ],
)
def test_tiles_of_known_sizes(
    processor: FamilyProcessor, make_prompts: Prompts, size: tuple[int, int], tiles: int, shape: tuple[int, int]
) -> None:
    """Rows x columns of tiles, at most four; one token stands for them all, of no known place."""
    prompt = processor.prompt(Image.new("RGB", size), make_prompts(1)[0].record)
    supported = [(a, b) for a in range(1, 5) for b in range(1, 5) if a * b <= 4]
    assert supported[int(prompt.inputs["aspect_ratio_ids"]) - 1] == shape
    assert int(prompt.inputs["aspect_ratio_mask"].sum()) == tiles == shape[0] * shape[1]
    assert int((prompt.inputs["input_ids"] == processor.image_id).sum()) == 1
    assert prompt.view.grids == () and prompt.view.patch_weights([Box(0, 0, 1, 1)]).shape == (0,)
    seen = prompt.inputs["cross_attention_mask"].sum(-1)[:, 0]
    first = prompt.inputs["input_ids"].tolist().index(processor.image_id)
    assert (seen[:first] == 0).all() and (seen[first:] == tiles).all()


def test_the_released_head_has_no_row_for_the_picture(
    make_prompts: Prompts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image token is one beyond the head: answers are sampled and scored all the same."""
    whole, settings = tiny.build_tokenizer, tiny.text_settings

    def image_last(corpus: object, special: tuple[str, ...], *args: object, **names: str) -> object:
        tokenizer = whole(corpus, [t for t in special if t != "<|image|>"], *args, **names)
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|image|>"]})
        return tokenizer

    monkeypatch.setattr(tiny, "build_tokenizer", image_last)
    monkeypatch.setattr(tiny, "text_settings", lambda t, **k: {**settings(t, **k), "vocab_size": len(t) - 1})
    mllama.write_tiny(tmp_path, ["What is wrong ?"])
    processor = Ours(str(tmp_path))
    pi = load_policy(str(tmp_path), processor, "umed.models.backbones.mllama")
    assert pi.core.lm_head.out_features == processor.image_id
    prompts = [processor.prompt(Image.new("RGB", size), make_prompts(1)[0].record) for size in ((56, 56), (200, 60))]
    answers = pi.sample(prompts, 2, 4, noise=Noise(0))
    scores, valid = pi.score(prompts, answers.ids_BT, answers.mask_BT), answers.mask_BT
    torch.testing.assert_close(scores.logp_BT[valid], answers.logp_BT[valid], atol=1e-5, rtol=0)
