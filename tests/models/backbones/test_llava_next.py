"""LLaVA-NeXT: two scales of one picture, cut and described as the model does it; boxes as fractions of the whole."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig
from transformers import LlavaNextProcessor as Theirs
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from umed.boxes import Box
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.policy import Policy

FAMILIES = ("llava_next",)
Prompts = Callable[..., list[Prompt]]
LAYOUTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]

# width x height -> rows and columns of high resolution, tokens; released tile and layouts
VECTORS = [
    ((336, 336), (24, 24), 576 + 24 * 25),
    ((512, 512), (48, 48), 576 + 48 * 49),
    ((1024, 1024), (48, 48), 576 + 48 * 49),
    ((391, 320), (24, 30), 576 + 24 * 31),  # 29 columns, but as many are dropped left as right
    ((720, 576), (38, 48), 576 + 38 * 49),
    ((1920, 1072), (26, 48), 576 + 26 * 49),
    ((300, 1000), (72, 22), 576 + 72 * 23),
]


@pytest.fixture(scope="module")
def released(
    tiny_folder: Path, processor: FamilyProcessor, tmp_path_factory: pytest.TempPathFactory
) -> FamilyProcessor:
    """The tiny model's tokenizer with tiles as the family was released."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("released") / "model"))
    config = AutoConfig.from_pretrained(tiny_folder)
    config.text_config.max_position_embeddings, config.image_grid_pinpoints = 4096, LAYOUTS
    config.vision_config.image_size = 336
    config.save_pretrained(folder)
    size = {"height": 336, "width": 336}
    LlavaNextImageProcessorPil(size={"shortest_edge": 336}, crop_size=size).save_pretrained(folder)
    return type(processor)(str(folder))


@pytest.mark.parametrize(("size", "fine", "tokens"), VECTORS)
def test_tokens_of_known_sizes(
    released: FamilyProcessor, make_prompts: Prompts, size: tuple[int, int], fine: tuple[int, int], tokens: int
) -> None:
    """And as many as transformers' own processor counts."""
    image = Image.new("RGB", size)
    prompt = released.prompt(image, make_prompts(1)[0].record)
    coarse, high = prompt.view.grids
    assert (coarse.rows, coarse.columns, coarse.newline) == (24, 24, False)
    assert (high.rows, high.columns, high.newline) == (*fine, True)
    assert prompt.view.tokens == tokens
    theirs = Theirs(released.image_processor, released.tokenizer, 14, "default", num_additional_image_tokens=1)
    out = theirs(images=image, text=released.text(prompt.record.query), return_tensors="pt")
    assert out["input_ids"][0].tolist() == prompt.inputs["input_ids"].tolist()


def ramps(width: int, height: int) -> Image.Image:
    """Red says how far to the right a pixel is, green how far down."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return Image.fromarray((255 * np.stack([x, y, 0 * x], -1)).round().astype(np.uint8))


@pytest.mark.parametrize("size", [(112, 112), (140, 112), (60, 100), (300, 100), (97, 301), (56, 56), (31, 57)])
def test_a_token_looks_where_the_view_says_it_does(
    policy: Callable[..., Policy], processor: FamilyProcessor, make_prompts: Prompts, size: tuple[int, int]
) -> None:
    """The model itself puts the mean colors of the patches in order: they tell the middles of the cells."""
    core = policy().core.model
    prompt = processor.prompt(ramps(*size), make_prompts(1)[0].record)
    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    pixels = prompt.inputs["pixel_values"] * std + mean
    colors = pixels.reshape(-1, 3, 4, 14, 4, 14).mean((3, 5)).flatten(2).transpose(1, 2)  # (tiles, 16, 3)
    (packed,), _ = core.pack_image_features(
        [colors], prompt.inputs["image_sizes"], "default", image_newline=torch.full((3,), -1.0)
    )
    start = 0
    for grid in prompt.view.grids:
        seen = packed[start : start + grid.tokens].reshape(grid.rows, -1, 3)
        start += grid.tokens
        if grid.newline:
            assert (seen[:, -1] == -1).all()
            seen = seen[:, :-1]
        assert (seen >= -0.05).all()
        xs, ys = (torch.from_numpy(lines) for lines in grid.lines)
        whole = ((xs[:-1] >= 0) & (xs[1:] <= 1)) & ((ys[:-1] >= 0) & (ys[1:] <= 1))[:, None]
        across, down = ((lines[1:] + lines[:-1]) / 2 for lines in (xs, ys))
        assert whole.sum() >= 2
        assert (seen[..., 0] - across)[whole].abs().max() < 0.01
        assert (seen[..., 1] - down[:, None])[whole].abs().max() < 0.01
    assert start == len(packed)


@pytest.mark.parametrize("size", [(112, 112), (140, 112), (391, 320), (300, 100), (97, 301), (31, 57)])
def test_the_high_resolution_hides_half_a_token_at_most(processor: FamilyProcessor, size: tuple[int, int]) -> None:
    view = processor.encode_picture(Image.new("RGB", size)).view
    coarse, fine = view.grids
    assert (coarse.x0, coarse.y0, coarse.x1, coarse.y1) == view.frame == (0, 0, 1, 1)
    assert max(fine.x0, fine.y0) <= 0 or min(fine.x0, fine.y0) <= 0  # one side is never padded
    for low, high, count in ((fine.x0, fine.x1, fine.columns), (fine.y0, fine.y1, fine.rows)):
        token = (high - low) / count
        assert -token < low < 0.5 * token + 0.01 and 1 - 0.5 * token - 0.01 < high < 1 + token
    weights = view.patch_weights([Box(0, 0, 1, 1)])
    torch.testing.assert_close(weights[: coarse.tokens], torch.ones(16))


def test_sizes_give_different_numbers_of_tokens(make_prompts: Prompts) -> None:
    sizes = ((56, 56), (60, 100), (140, 112))
    assert [p.view.tokens for p in make_prompts(3, *sizes)] == [36, 56, 70]


def test_a_picture_too_thin_is_refused(processor: FamilyProcessor, make_prompts: Prompts) -> None:
    record = make_prompts(1)[0].record
    with pytest.raises(
        InputError, match=rf"{record.id}: .* has 2 x 900 pixels, .*so thin that no token is left"
    ) as error:
        processor.prompt(Image.new("RGB", (2, 900)), record)
    assert "\n" not in str(error.value)


def test_a_smaller_picture_is_a_setting_and_the_advice_names_one_that_helps(
    tiny_folder: Path, processor: FamilyProcessor, make_prompts: Prompts
) -> None:
    record, family = make_prompts(1)[0].record, type(processor)
    text = len(processor.prompt(Image.new("RGB", (56, 56)), record).inputs["input_ids"]) - 36
    with pytest.raises(InputError, match=r"88 of them .*: set model\.processor\.longest_edge=56 or less"):
        family(str(tiny_folder), max_prompt_tokens=text + 56).prompt(Image.new("RGB", (112, 112)), record)
    small = family(str(tiny_folder), longest_edge=56, max_prompt_tokens=text + 56)
    for size in ((112, 112), (112, 56), (56, 112), (400, 200), (300, 299), (90, 100), (300, 50)):
        prompt = small.prompt(Image.new("RGB", size), record)
        assert (prompt.view.width, prompt.view.height) == size and prompt.view.tokens <= 56
        assert max(prompt.inputs["image_sizes"][0].tolist()) <= 56
    with pytest.raises(InputError, match="shorten the query"):
        family(str(tiny_folder), max_prompt_tokens=text + 55).prompt(Image.new("RGB", (112, 112)), record)
    with pytest.raises(InputError, match=r"model\.processor\.longest_edge=0: at least 1"):
        family(str(tiny_folder), longest_edge=0)


def test_the_line_end_is_trained_where_all_is(policy: Callable[..., Policy], make_prompts: Prompts) -> None:
    """It is part of what turns pixels into tokens: features are not kept while it moves."""
    pi, prompts = policy(frozen=["vision_tower", "multi_modal_projector"]), make_prompts(2)
    ids, mask = torch.full((2, 3), 20), torch.ones(2, 3, dtype=torch.bool)
    before = pi.score(prompts, ids, mask).logp_BT
    before.sum().backward()
    assert pi.core.model.image_newline.grad.abs().sum() > 0
    with torch.no_grad():
        pi.core.model.image_newline.add_(1)
    assert (pi.score(prompts, ids, mask).logp_BT - before).abs().max() > 1e-3


def test_a_newline_token_covers_nothing(processor: FamilyProcessor) -> None:
    view = processor.encode_picture(Image.new("RGB", (112, 112))).view
    fine = view.grids[1]
    assert (fine.rows, fine.columns, fine.newline, fine.tokens) == (8, 8, True, 72)
    weights = view.patch_weights([Box(0, 0, 1, 1)])[16:].reshape(8, 9)
    assert (weights[:, :8] == 1).all() and (weights[:, 8] == 0).all()
    assert view.heat(np.concatenate([np.zeros(16), np.tile([0.0] * 8 + [1.0], 8)])).sum() == 0
