"""Idefics3 and SmolVLM: released tiles, what they hide, and what ends an answer."""

import json
import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig
from transformers import Idefics3Processor as Theirs

from umed.boxes import Box
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor

FAMILIES = ("idefics3", "smolvlm")
Prompts = Callable[..., list[Prompt]]

# tile, patch, scale -> tokens a side of a tile: Idefics3-8B, SmolVLM2-2.2B, SmolVLM2-256M
RELEASED = {(364, 14, 2): 13, (384, 14, 3): 9, (512, 16, 4): 8}
# width x height -> columns, rows at a longest edge of four tiles
VECTORS = [
    ((512, 512), (4, 4)),
    ((1024, 1024), (4, 4)),
    ((30, 900), (1, 4)),
    ((391, 320), (4, 4)),
    ((1000, 200), (4, 1)),
    ((1920, 1072), (4, 3)),
    ((900, 1), (4, 1)),
]


def released(
    processor: FamilyProcessor, tiny: Path, folder: Path, tile: int, patch: int, scale: int, edge: int | None = None
) -> FamilyProcessor:
    """The tiny model's tokenizer with tiles as the family was released."""
    shutil.copytree(tiny, folder)
    config = AutoConfig.from_pretrained(tiny)
    config.vision_config.image_size, config.vision_config.patch_size, config.scale_factor = tile, patch, scale
    config.text_config.max_position_embeddings = 8192
    config.save_pretrained(folder)
    pictures = type(processor.image_processor)(size={"longest_edge": 4 * tile}, max_image_size={"longest_edge": tile})
    pictures.save_pretrained(folder)
    return type(processor)(str(folder), longest_edge=edge)


@pytest.mark.parametrize(
    ("size", "cut", "shape"),
    [
        pytest.param(*vector, shape, marks=[pytest.mark.slow] if max(vector[0]) >= 1000 else [])
        for vector, shape in zip(VECTORS, cycle(RELEASED), strict=False)
    ],
)
def test_tiles_of_known_sizes(
    processor: FamilyProcessor,
    tiny_folder: Path,
    tmp_path: Path,
    make_prompts: Prompts,
    size: tuple[int, int],
    cut: tuple[int, int],
    shape: tuple[int, int, int],
) -> None:
    """And the prompt is that of transformers' own processor."""
    ours, side = released(processor, tiny_folder, tmp_path / "model", *shape), RELEASED[shape]
    image = Image.new("RGB", size)
    ours.max_prompt_tokens = 8192
    prompt = ours.prompt(image, make_prompts(1)[0].record)
    view = prompt.view
    assert (view.seen_width // shape[0], view.seen_height // shape[0]) == cut
    assert [(g.rows, g.columns, g.scale) for g in view.grids] == [(side, side, 0)] * (cut[0] * cut[1]) + [
        (side, side, 1)
    ]
    assert prompt.inputs["pixel_values"].shape[1:] == (len(view.grids), 3, shape[0], shape[0])
    theirs = Theirs(ours.image_processor, ours.tokenizer, image_seq_len=side**2)
    out = theirs(images=image, text=ours.text(prompt.record.query), return_tensors="pt")
    assert out["input_ids"][0].tolist() == prompt.inputs["input_ids"].tolist()


def ramps(width: int, height: int) -> Image.Image:
    """Red says how far to the right a pixel is, green how far down."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return Image.fromarray((255 * np.stack([x, y, 0 * x], -1)).round().astype(np.uint8))


@pytest.mark.parametrize("shape", RELEASED)
@pytest.mark.parametrize(("size", "edge"), [((300, 260), 2), ((90, 400), 2), ((700, 300), 1)])
def test_a_token_looks_where_the_view_says_it_does(
    processor: FamilyProcessor,
    tiny_folder: Path,
    tmp_path: Path,
    shape: tuple[int, int, int],
    size: tuple[int, int],
    edge: int,
) -> None:
    """The mean color of a token's pixels tells the middle of its cell, also where a tile ends in half a patch."""
    tile, patch, scale = shape
    ours = released(processor, tiny_folder, tmp_path / "model", *shape, edge=edge * tile)
    picture = ours.encode_picture(ramps(*size))
    side, token = RELEASED[shape], patch * scale
    pixels = picture.inputs["pixel_values"][0, :, :, : side * token, : side * token] / 2 + 0.5
    seen = pixels.reshape(-1, 3, side, token, side, token).mean((3, 5))
    assert len(picture.view.grids) == len(seen) == (1 if edge == 1 else 5 if size[0] > 200 else 3)
    for grid, colors in zip(picture.view.grids, seen, strict=True):
        across, down = ((lines[1:] + lines[:-1]) / 2 for lines in (torch.from_numpy(v) for v in grid.lines))
        assert (colors[0] - across).abs().max() < 0.006
        assert (colors[1] - down[:, None]).abs().max() < 0.006


def test_a_tiles_last_pixels_are_in_no_cell(processor: FamilyProcessor, tiny_folder: Path, tmp_path: Path) -> None:
    """Tiles of 384 px with patches of 14: 6 px to the right and below are not seen."""
    ours = released(processor, tiny_folder, tmp_path / "model", 384, 14, 3, edge=768)
    picture = ours.encode_picture(Image.new("RGB", (768, 768)))
    strip = Box(379 / 768, 0, 384 / 768, 1)
    weights = picture.view.patch_weights([strip])
    assert (weights[: 4 * 81] == 0).all() and (weights[4 * 81 :] > 0).any()  # the whole picture shows it


def test_a_smaller_picture_is_a_setting_and_the_advice_names_one_that_helps(
    processor: FamilyProcessor, tiny_folder: Path, make_prompts: Prompts
) -> None:
    record, family = make_prompts(1)[0].record, type(processor)
    image = Image.new("RGB", (300, 300))
    whole = family(str(tiny_folder), longest_edge=224).prompt(image, record)
    text = len(whole.inputs["input_ids"]) - whole.view.tokens
    for room, edge, tokens in ((67, 168, 40), (40, 168, 40), (39, 112, 20), (19, 56, 4), (4, 56, 4)):
        with pytest.raises(InputError, match=rf"68 of them .*: set model\.processor\.longest_edge={edge} or less"):
            family(str(tiny_folder), longest_edge=224, max_prompt_tokens=text + room).prompt(image, record)
        fits = family(str(tiny_folder), longest_edge=edge, max_prompt_tokens=text + room)
        assert fits.prompt(image, record).view.tokens == tokens
    with pytest.raises(InputError, match="shorten the query"):
        family(str(tiny_folder), longest_edge=224, max_prompt_tokens=text + 3).prompt(image, record)
    with pytest.raises(InputError, match=r"model\.processor\.longest_edge=-1: at least 1"):
        family(str(tiny_folder), longest_edge=-1)


def test_nothing_of_a_picture_is_ever_said(processor: FamilyProcessor) -> None:
    said = processor.tokenizer.convert_ids_to_tokens(list(processor.suppressed_ids))
    assert len(said) == 39
    assert {"<image>", "<fake_token_around_image>", "<global-img>", "<row_1_col_1>", "<row_6_col_6>"} <= set(said)


def test_a_checkpoint_of_the_other_family_is_refused_in_one_line(
    family: str, tiny_folder: Path, tmp_path: Path, processor: FamilyProcessor
) -> None:
    """SmolVLM's first version calls itself an Idefics3."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "other"))
    other = {"idefics3": "smolvlm", "smolvlm": "idefics3"}[family]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": other}))
    with pytest.raises(InputError, match=f"a {other} checkpoint, but model.backbone reads {family}: choose") as error:
        type(processor)(str(folder))
    assert "\n" not in str(error.value)
