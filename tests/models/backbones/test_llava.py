"""LLaVA: where the square lies, what the model sees of it, and the prompt of transformers' own processor."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer
from transformers import LlavaProcessor as Theirs
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from umed.boxes import Box
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor

FAMILIES = ("llava",)
FITS = ("pad", "squash", "checkpoint")
Prompts = Callable[..., list[Prompt]]


@pytest.fixture(params=FITS)
def fitted(request: pytest.FixtureRequest, processor: FamilyProcessor, tiny_folder: Path) -> FamilyProcessor:
    return type(processor)(str(tiny_folder), fit=request.param)


def ramps(width: int, height: int) -> Image.Image:
    """Red says how far to the right a pixel is, green how far down."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return Image.fromarray((255 * np.stack([x, y, 0 * x], -1)).round().astype(np.uint8))


@pytest.mark.parametrize("size", [(100, 50), (51, 100), (56, 56), (300, 301)])
def test_a_token_looks_where_the_view_says_it_does(
    fitted: FamilyProcessor, make_prompts: Prompts, size: tuple[int, int]
) -> None:
    """The mean color of a token's pixels tells the middle of its cell."""
    prompt = fitted.prompt(ramps(*size), make_prompts(1)[0].record)
    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    pixels = prompt.inputs["pixel_values"][0] * std + mean
    seen = pixels.reshape(3, 4, 14, 4, 14).mean((2, 4))
    xs, ys = (torch.from_numpy(lines) for lines in prompt.view.grids[0].lines)
    whole = ((xs[:-1] >= 0) & (xs[1:] <= 1)) & ((ys[:-1] >= 0) & (ys[1:] <= 1))[:, None]
    assert whole.sum() >= 8
    across, down = ((lines[1:] + lines[:-1]) / 2 for lines in (xs, ys))
    assert (seen[0] - across)[whole].abs().max() < 0.01
    assert (seen[1] - down[:, None])[whole].abs().max() < 0.01


def test_the_frame_of_a_padded_picture(processor: FamilyProcessor, make_prompts: Prompts) -> None:
    view = processor.prompt(Image.new("RGB", (100, 50)), make_prompts(1)[0].record).view
    assert view.frame == (0, -0.5, 1, 1.5)
    said = processor.write_boxes([Box(0, 0, 0.5, 1)], "stone", view)
    assert said == "[0.00, 0.25, 0.50, 0.75]"
    assert processor.read_boxes("[0.00, 0.00, 0.50, 0.20]", view) is None  # in the padding
    assert processor.read_boxes("[0.00, 0.00, 0.50, 0.75]", view) == [Box(0, 0, 0.5, 1)]


def test_a_padded_picture_has_its_mean_color_around(processor: FamilyProcessor, make_prompts: Prompts) -> None:
    pixels = processor.prompt(Image.new("RGB", (100, 50)), make_prompts(1)[0].record).inputs["pixel_values"][0]
    assert pixels[:, [*range(11), *range(45, 56)]].abs().max() < 0.02  # nothing after normalizing
    assert pixels[:, 17:39].max() < -1


def test_what_a_center_crop_hides_is_in_no_cell(tiny_folder: Path, processor: FamilyProcessor, make_prompts) -> None:
    cropping = type(processor)(str(tiny_folder), fit="checkpoint")
    view = cropping.prompt(Image.new("RGB", (100, 50)), make_prompts(1)[0].record).view
    assert (view.patch_weights([Box(0, 0, 0.24, 1)]) == 0).all()
    torch.testing.assert_close(view.patch_weights([Box(0.25, 0, 0.75, 1)]), torch.ones(16))
    assert cropping.write_boxes([Box(0, 0, 0.5, 1)], "stone", view) == "[0.00, 0.00, 0.50, 1.00]"
    record = replace(make_prompts(1)[0].record, boxes=(Box(0, 0, 0.2, 1),))
    with pytest.raises(InputError, match=rf"{record.id}: a box lies where the model does not see .*fit=pad"):
        cropping.prompt(Image.new("RGB", (100, 50)), record)


@pytest.mark.parametrize(
    ("settings", "fit", "frame"),
    [
        ({}, None, (0, -0.5, 1, 1.5)),
        ({"size": {"height": 56, "width": 56}, "do_center_crop": False}, None, (0, 0, 1, 1)),
        ({"size": {"height": 56, "width": 56}, "do_center_crop": False}, "checkpoint", (0, 0, 1, 1)),
        ({"size": {"height": 56, "width": 56}, "do_center_crop": False}, "pad", (0, -0.5, 1, 1.5)),
        ({"do_pad": True}, None, (0, -0.5, 1, 1.5)),
        ({"do_pad": True}, "checkpoint", (0, -0.5, 1, 1.5)),
        ({"do_pad": True}, "squash", (0, 0, 1, 1)),
    ],
)
def test_the_checkpoint_says_how_a_picture_becomes_square(
    tiny_folder: Path, tmp_path: Path, processor: FamilyProcessor, settings: dict, fit: str | None, frame: tuple
) -> None:
    folder = copied(tiny_folder, tmp_path, "preprocessor_config.json", settings)
    assert type(processor)(str(folder), fit=fit).encode_picture(Image.new("RGB", (100, 50))).view.frame == frame


def test_pixels_behind_the_last_patch_are_in_no_cell(
    tiny_folder: Path, tmp_path: Path, processor: FamilyProcessor
) -> None:
    """A tower of 60 px with patches of 14: its last 4 px are cut off."""
    config = json.loads((tiny_folder / "config.json").read_text())
    folder = copied(
        tiny_folder, tmp_path, "config.json", {"vision_config": {**config["vision_config"], "image_size": 60}}
    )
    picture = type(processor)(str(folder), fit="squash").encode_picture(Image.new("RGB", (100, 50)))
    assert picture.inputs["pixel_values"].shape[-2:] == (60, 60)
    assert picture.view.grids[0].lines[0][-1] == pytest.approx(56 / 60)
    assert (picture.view.patch_weights([Box(0.95, 0, 1, 1)]) == 0).all()


def test_an_unknown_fit_is_refused(tiny_folder: Path, processor: FamilyProcessor) -> None:
    with pytest.raises(InputError, match=r"model\.processor\.fit=stretch: choose pad, squash or checkpoint"):
        type(processor)(str(tiny_folder), fit="stretch")


def copied(folder: Path, to: Path, file: str, changes: dict) -> Path:
    """The checkpoint with other settings in one of its files."""
    copy = Path(shutil.copytree(folder, to / "copy"))
    path = copy / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return copy


def test_the_begin_token_that_a_template_leaves_to_the_tokenizer(
    tiny_folder: Path, tmp_path: Path, processor: FamilyProcessor, make_prompts: Prompts
) -> None:
    """As in the released checkpoints: the tokenizer begins with a token, the template does not write it."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder, bos_token="<|im_start|>")
    begin = [("<|im_start|>", tokenizer.bos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=begin)
    for template, count in (("USER: <image>\n{{ messages[0].content[1].text }}", 1), (tokenizer.chat_template, 2)):
        tokenizer.chat_template = template
        folder = Path(shutil.copytree(tiny_folder, tmp_path / str(count)))
        tokenizer.save_pretrained(folder)
        ours = type(processor)(str(folder))
        prompt = ours.prompt(ramps(60, 60), make_prompts(1)[0].record)
        ids = prompt.inputs["input_ids"].tolist()
        assert ids[0] == tokenizer.bos_token_id and ids.count(ids[0]) == count  # the other one: the assistant's turn
        assert prompt.answer[0] != ids[0]
        theirs = Theirs(ours.image_processor, ours.tokenizer, 14, "default", num_additional_image_tokens=1)
        content = [{"type": "image", "image": ramps(60, 60)}, {"type": "text", "text": prompt.record.query}]
        out = theirs.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=template,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
        )
        assert out["input_ids"][0] == ids


def test_an_older_checkpoint_keeps_the_template_for_pictures_apart(
    tiny_folder: Path, tmp_path: Path, processor: FamilyProcessor
) -> None:
    folder = copied(tiny_folder, tmp_path, "tokenizer_config.json", {"chat_template": "of text alone"})
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="its chat template has no place for a picture"):
        type(processor)(str(folder)).text("What ?")
    (folder / "chat_template.json").write_text(
        json.dumps({"chat_template": "<image>{{ messages[0].content[1].text }}"})
    )
    assert type(processor)(str(folder)).text("What ?") == "<image>What ?"


def test_a_tokenizer_without_a_padding_token(
    tiny_folder: Path, tmp_path: Path, processor: FamilyProcessor, make_prompts: Prompts
) -> None:
    ours = type(processor)(str(copied(tiny_folder, tmp_path, "tokenizer_config.json", {"pad_token": None})))
    assert ours.pad_id == ours.eos_ids[0]
    batch = ours.collate([ours.prompt(ramps(60, 60), p.record) for p in make_prompts(2)])
    assert batch["input_ids"][0, 0] == ours.pad_id and batch["attention_mask"][0, 0] == 0
