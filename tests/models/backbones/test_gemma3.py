"""Gemma 3 and MedGemma: one pooled square, black borders or a squeeze, image tokens that see each other, a window."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoConfig
from transformers import Gemma3Processor as Theirs
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from umed.boxes import Box
from umed.chat import Prompt
from umed.models.backbones.gemma3 import Gemma3Processor
from umed.models.policy import Policy

FAMILIES = ("gemma3",)
Prompts = Callable[..., list[Prompt]]
IDS = torch.randint(40, 200, (2, 6), generator=torch.Generator().manual_seed(0))
MASK = torch.ones(2, 6, dtype=torch.bool)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def padding(tiny_folder: Path) -> Gemma3Processor:
    """As for MedGemma 1.5."""
    return Gemma3Processor(str(tiny_folder), pad=True)


@pytest.fixture(scope="module")
def released(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model's tokenizer with the picture as the family was released: 896 px, 256 tokens."""
    folder = tmp_path_factory.mktemp("released") / "model"
    shutil.copytree(tiny_folder, folder)
    config = AutoConfig.from_pretrained(tiny_folder)
    config.mm_tokens_per_image, config.text_config.max_position_embeddings = 256, 4096
    config.save_pretrained(folder)
    Gemma3ImageProcessorPil(size={"height": 896, "width": 896}).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("size", [(512, 512), (391, 320), (1920, 1072), (1, 900), (3, 3)])
@pytest.mark.parametrize("pad", [False, True])
def test_released_pictures_are_256_tokens_of_56_pixels(
    released: Path, make_prompts: Prompts, size: tuple[int, int], pad: bool
) -> None:
    prompt = Gemma3Processor(str(released), pad=pad).prompt(noise(*size), make_prompts(1)[0].record)
    view = prompt.view
    assert prompt.inputs["pixel_values"].shape == (1, 3, 896, 896)
    assert (view.seen_width, view.seen_height, view.tokens) == (896, 896, 256)
    across, down = view.grids[0].lines
    sides = [max(size)] * 2 if pad else size
    assert np.diff(across) * size[0] == pytest.approx(56 * sides[0] / 896)
    assert np.diff(down) * size[1] == pytest.approx(56 * sides[1] / 896)
    image = prompt.inputs["token_type_ids"].nonzero()[:, 0]
    assert torch.equal(image, torch.arange(256) + image[0])


@pytest.mark.parametrize("size", [(56, 56), (140, 112), (60, 101), (300, 90)])
def test_a_padded_picture_and_its_prompt_are_those_of_the_familys_processor(
    padding: Gemma3Processor, make_prompts: Prompts, size: tuple[int, int]
) -> None:
    """Borders as in MedGemma's own notebook: black, the odd pixel to the right or below."""
    image, side = noise(*size), max(size)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    square = np.zeros((side, side, 3), dtype=np.uint8)
    square[top : top + size[1], left : left + size[0]] = np.asarray(image)
    prompt = padding.prompt(image, make_prompts(1)[0].record)
    theirs = Theirs(padding.image_processor, padding.tokenizer, image_seq_length=16)
    text = padding.text(prompt.record.query)
    out = theirs(images=Image.fromarray(square), text=text, return_tensors="pt", add_special_tokens=False)
    for name in ("input_ids", "token_type_ids"):
        assert out[name][0].tolist() == prompt.inputs[name].tolist()
    torch.testing.assert_close(out["pixel_values"], prompt.inputs["pixel_values"])


def test_a_tokens_pixels_are_its_cell(processor: Gemma3Processor, padding: Gemma3Processor) -> None:
    """Red says how far to the right a pixel is, green how far down: the mean color of a cell tells its middle."""
    width, height = 300, 200
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    ramps = Image.fromarray((255 * np.stack([x, y, 0 * x + 1], -1)).round().astype(np.uint8))
    for taker in (processor, padding):
        picture = taker.encode_picture(ramps)
        colors = (picture.inputs["pixel_values"][0] / 2 + 0.5).reshape(3, 4, 14, 4, 14).mean((2, 4))
        inside = colors[2] > 0.99  # a border is black in blue too
        across, down = (torch.from_numpy((v[1:] + v[:-1]) / 2) for v in picture.view.grids[0].lines)
        assert int(inside.sum()) == (16 if taker is processor else 8)
        assert (colors[0] - across).abs()[inside].max() < 0.01
        assert (colors[1] - down[:, None]).abs()[inside].max() < 0.01


@settings(deadline=None, max_examples=30)
@given(width=st.integers(1, 400), height=st.integers(1, 400), pad=st.booleans())
def test_the_weights_of_the_whole_picture_are_its_share_of_the_square(
    processor: Gemma3Processor, padding: Gemma3Processor, width: int, height: int, pad: bool
) -> None:
    view = (padding if pad else processor).encode_picture(Image.new("RGB", (width, height))).view
    share = width * height / max(width, height) ** 2 if pad else 1
    assert float(view.patch_weights([Box(0, 0, 1, 1)]).sum()) == pytest.approx(16 * share, rel=1e-4)


@pytest.mark.parametrize(("pad", "rows"), [(False, (200, 800)), (True, (350, 650))])
def test_the_text_is_y_first_in_thousandths_of_what_the_model_was_given(
    processor: Gemma3Processor, padding: Gemma3Processor, pad: bool, rows: tuple[int, int]
) -> None:
    taker = padding if pad else processor
    view = taker.encode_picture(Image.new("RGB", (100, 50))).view
    said = taker.write_boxes([Box(0.1, 0.2, 0.3, 0.8)], "stone", view)
    assert said == f'[{{"box_2d":[{rows[0]},100,{rows[1]},300],"label":"stone"}}]'
    (found,) = taker.read_boxes(said, view) or ()
    assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx((0.1, 0.2, 0.3, 0.8))
    in_the_border = taker.read_boxes('[{"box_2d":[0,0,200,500],"label":"stone"}]', view)
    assert (in_the_border is None) == pad


def test_image_tokens_see_each_other_whichever_comes_first(
    policy: Callable[..., Policy], make_prompts: Prompts
) -> None:
    """Without the token types the answer would be another one."""
    pi, prompts = policy(), make_prompts(2)
    right = pi.score(prompts, IDS, MASK).logp_BT
    for prompt in prompts:
        prompt.inputs["token_type_ids"] = torch.zeros_like(prompt.inputs["token_type_ids"])
    assert (pi.score(prompts, IDS, MASK).logp_BT - right).abs().max() > 1e-3


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_window_of_a_sliding_layer_counts_in_the_answer_too(
    policy: Callable[..., Policy], make_prompts: Prompts, tiny_folder: Path, tmp_path: Path, checkpointing: bool
) -> None:
    """A picture longer ago than the window is not seen by a sliding layer; a model with full layers alone sees it."""
    prompts = make_prompts(2)
    assert len(prompts[0].inputs["input_ids"]) > 16  # the tiny model's window
    pi = policy(attention_layers=[0], gradient_checkpointing=checkpointing)
    rows = torch.tensor([[1, 6], [1, 6]])
    with torch.no_grad():
        near = pi.score(prompts, IDS, MASK, rows).attention_BNP
    ids = prompts[0].inputs["input_ids"]
    images = (ids == pi.processor.image_id).nonzero()[:, 0]
    for n, row in enumerate((1, 6)):  # row t stands at position P - 1 + t
        far = len(ids) - 1 + row - images >= 16
        assert far.any() and (near[0, n, : len(far)][far] == 0).all()
        assert (near[0, n, : len(far)][~far] > 0).all()

    wide = Path(shutil.copytree(tiny_folder, tmp_path / "wide"))
    config = json.loads((wide / "config.json").read_text())
    config["text_config"]["sliding_window"] = 512
    (wide / "config.json").write_text(json.dumps(config))
    other = policy(path=wide, attention_layers=[0], gradient_checkpointing=checkpointing)
    with torch.no_grad():
        assert (other.score(prompts, IDS, MASK, rows).attention_BNP[0] > 0).all()
