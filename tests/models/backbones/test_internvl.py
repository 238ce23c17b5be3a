"""InternVL: tiles and thumbnail, the prompt of transformers' own processor, boxes in tags."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from transformers import AutoConfig
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from umed.boxes import iou_union
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor

FAMILIES = ("internvl",)

# width x height -> columns, rows, tiles with thumbnail; released tile and limit
VECTORS = [
    ((512, 512), (1, 1), 1),
    ((1024, 1024), (3, 3), 10),
    ((391, 320), (4, 3), 13),
    ((640, 640), (2, 2), 5),
    ((720, 576), (4, 3), 13),
    ((1920, 1072), (4, 2), 9),
    ((487, 332), (3, 2), 7),
]


@pytest.fixture(scope="module")
def released(
    tiny_folder: Path, processor: FamilyProcessor, tmp_path_factory: pytest.TempPathFactory
) -> FamilyProcessor:
    """The tiny model's tokenizer with tiles as the family was released."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("released") / "model"))
    config = AutoConfig.from_pretrained(tiny_folder)
    config.text_config.max_position_embeddings = 4096
    config.save_pretrained(folder)
    GotOcr2ImageProcessorPil(size={"height": 448, "width": 448}).save_pretrained(folder)
    return type(processor)(str(folder))


@pytest.mark.parametrize(("size", "canvas", "tiles"), VECTORS)
def test_tiles_of_known_sizes(
    released: FamilyProcessor,
    make_prompts: Callable[..., list[Prompt]],
    size: tuple[int, int],
    canvas: tuple[int, int],
    tiles: int,
) -> None:
    prompt = released.prompt(Image.new("RGB", size), make_prompts(1)[0].record)
    view = prompt.view
    assert (view.seen_width // 448, view.seen_height // 448) == canvas
    assert prompt.inputs["pixel_values"].shape == (tiles, 3, 448, 448)
    assert [(g.rows, g.columns) for g in view.grids] == [(16, 16)] * tiles
    assert int((prompt.inputs["input_ids"] == released.image_id).sum()) == view.tokens == 256 * tiles


def test_small_and_large_pictures_have_different_numbers_of_tokens(make_prompts: Callable[..., list[Prompt]]) -> None:
    sizes = ((56, 56), (60, 100), (140, 112))
    assert [p.view.tokens for p in make_prompts(3, *sizes)] == [4, 12, 20]


def test_an_answer_keeps_its_tags_and_nothing_else_that_is_special(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    prompt = make_prompts(2, boxes=2)[1]
    text = processor.decode(prompt.answer.tolist())
    assert text == "A cyst is seen at <ref>cyst</ref><box>[[250, 250, 750, 500], [100, 600, 400, 900]]</box>."
    assert "".join(processor.pieces(prompt.answer.tolist())) == text
    assert iou_union(processor.read_boxes(text, prompt.view) or [], prompt.record.boxes) == pytest.approx(1)
    assert processor.plain(text) == prompt.gold == "A cyst is seen at."
    silent = processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>", "<img>", "<IMG_CONTEXT>"])
    assert processor.decode(silent) == ""
    assert {processor.tokenizer.decode([i]) for i in processor.suppressed_ids} == {
        "<img>", "</img>", "<IMG_CONTEXT>", "<video>"
    }  # fmt: skip


def test_fewer_tiles_are_a_setting_and_the_advice_names_one_that_helps(
    processor: FamilyProcessor, tiny_folder: Path, make_prompts: Callable[..., list[Prompt]]
) -> None:
    record, image = make_prompts(1)[0].record, Image.new("RGB", (160, 56))
    text = len(processor.prompt(image, record).inputs["input_ids"]) - 16
    for room, patches, tokens in ((15, 2, 12), (12, 2, 12), (11, 1, 4), (4, 1, 4)):
        family = type(processor)
        with pytest.raises(InputError, match=rf"16 of them .*model\.processor\.max_patches={patches} ") as error:
            family(str(tiny_folder), max_prompt_tokens=text + room).prompt(image, record)
        assert "\n" not in str(error.value)
        smaller = family(str(tiny_folder), max_patches=patches, max_prompt_tokens=text + room)
        assert smaller.prompt(image, record).view.tokens == tokens
    with pytest.raises(InputError, match="shorten the query"):
        type(processor)(str(tiny_folder), max_prompt_tokens=text + 3).prompt(image, record)
    assert processor.image_processor.max_patches == 4  # not moved by the others
