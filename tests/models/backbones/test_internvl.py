"""InternVL: tiles and thumbnail, the prompt of transformers' own processor, boxes in tags."""

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoConfig, InternVLProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from umed.boxes import Box, iou_union
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.backbones.ref_box_codec import RefBoxCodec
from umed.models.family import FamilyProcessor
from umed.models.policy import Policy

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


@pytest.mark.parametrize("size", [(56, 56), (112, 56), (60, 100), (140, 112), (113, 37), (2, 900), (900, 1)])
def test_each_pixel_lies_in_one_cell_of_each_scale(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]], size: tuple[int, int]
) -> None:
    """Also in a picture of two columns, which the family takes."""
    view = processor.prompt(Image.new("RGB", size), make_prompts(1)[0].record).view
    x, y = ((np.arange(n) + 0.5) / n for n in size)
    for scale in {g.scale for g in view.grids}:
        count = np.zeros(size[::-1], dtype=int)
        for grid in (g for g in view.grids if g.scale == scale):
            xs, ys = grid.lines
            for left, right in pairwise(xs):
                for top, bottom in pairwise(ys):
                    count += np.outer((y >= top) & (y < bottom), (x >= left) & (x < right))
        assert (count == 1).all()
    torch.testing.assert_close(view.patch_weights([Box(0, 0, 1, 1)]), torch.ones(view.tokens))
    assert [g.scale for g in view.grids] == ([0] if len(view.grids) == 1 else [0] * (len(view.grids) - 1) + [1])


@pytest.mark.parametrize(("size", "place"), [((140, 112), (70, 60)), ((60, 100), (10, 80)), ((56, 56), (40, 8))])
def test_a_patch_is_seen_where_the_view_says_it_is(
    processor: FamilyProcessor,
    make_prompts: Callable[..., list[Prompt]],
    policy: Callable[..., Policy],
    size: tuple[int, int],
    place: tuple[int, int],
) -> None:
    """A bright patch changes the pixels of its own tokens in tile and thumbnail, and their features most."""
    record, (x, y) = make_prompts(1)[0].record, place
    dark = np.full((size[1], size[0], 3), 100, dtype=np.uint8)
    bright = dark.copy()
    bright[y : y + 8, x : x + 8] = 255
    one, two = (processor.prompt(Image.fromarray(p), record) for p in (dark, bright))
    change = (one.inputs["pixel_values"] - two.inputs["pixel_values"]).abs().sum(1)
    tokens = change.reshape(-1, 2, 28, 2, 28).sum((2, 4)).flatten()
    weights = one.view.patch_weights([Box(x / size[0], y / size[1], (x + 8) / size[0], (y + 8) / size[1])])
    core = policy().core.eval()
    with torch.no_grad():
        features = [core.get_image_features(p.inputs["pixel_values"]).pooler_output.flatten(0, 1) for p in (one, two)]
    moved = (features[0] - features[1]).norm(dim=-1)
    for scale in {g.scale for g in one.view.grids}:
        own = torch.cat([torch.full((g.tokens,), g.scale == scale) for g in one.view.grids])
        best = weights[own].argmax()
        assert best == tokens[own].argmax() == moved[own].argmax()
        assert torch.corrcoef(torch.stack([tokens[own], weights[own]]))[0, 1] > 0.95


@pytest.mark.parametrize("size", [(56, 56), (140, 112), (60, 100)])
def test_the_prompt_is_that_of_the_familys_processor(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]], size: tuple[int, int]
) -> None:
    class Theirs(InternVLProcessor):
        """Without videos, whose processor needs more than is installed here."""

        def check_argument_for_proper_class(self, argument_name: str, argument: object) -> object:
            if argument_name != "video_processor":
                return super().check_argument_for_proper_class(argument_name, argument)
            return type(argument)

    theirs = Theirs(processor.image_processor, processor.tokenizer, None, image_seq_length=4)
    (prompt,) = make_prompts(1, size, seed=3)
    pixels = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    text = processor.text(prompt.record.query)
    assert text.startswith("<|im_start|>user\n<IMG_CONTEXT>\nWhat is wrong ?")
    out = theirs(images=Image.fromarray(pixels), text=text, return_tensors="pt")
    assert out["input_ids"][0].tolist() == prompt.inputs["input_ids"].tolist()
    assert torch.equal(out["pixel_values"], prompt.inputs["pixel_values"])


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


def test_boxes_are_relative_to_the_whole_image(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    for size in ((56, 56), (140, 112), (300, 77)):
        view = processor.prompt(Image.new("RGB", size), make_prompts(1)[0].record).view
        said = processor.write_boxes([Box(0, 0, 0.5, 1)], "stone", view)
        assert said == "<ref>stone</ref><box>[[0, 0, 500, 1000]]</box>"
        assert processor.read_boxes(said, view) == [Box(0, 0, 0.5, 1)]


CODEC = RefBoxCodec()
UNIT = st.floats(0, 1, allow_subnormal=False)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, x1, y0, y1 = (draw(UNIT) for _ in range(4))
    assume(x0 != x1 and y0 != y1)
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


@given(st.lists(boxes(), min_size=1, max_size=4), st.integers(1, 2000), st.integers(1, 2000))
@example([Box(0, 0, 1, 1)], 448, 448)
@example([Box(0.9999, 0.9999, 1, 1)], 448, 896)
@example([Box(0, 0, 1e-9, 1e-9)], 448, 896)
def test_round_trip_within_a_step(several: list[Box], width: int, height: int) -> None:
    read = CODEC.read(f"At {CODEC.write(several, 'stone', width, height)}.", width, height)
    assert read is not None and len(read) == len(several)
    for one, two in zip(sorted(several, key=lambda b: (b.y0, b.x0)), read, strict=True):
        for low, high in (("x0", "x1"), ("y0", "y1")):
            slack = 0.5 if getattr(one, high) - getattr(one, low) >= 0.001 else 1.0
            for name in (low, high):
                assert abs(getattr(one, name) - getattr(two, name)) <= slack / 1000 + 1e-9


HUGE = "9" * 5000
FOUND = [(10, 20, 30, 40)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<ref>stone</ref><box>[[10, 20, 30, 40]]</box>", FOUND),
        ("<ref>a</ref><box>[[10,20,30,40],[50,60,70,80]]</box>", [*FOUND, (50, 60, 70, 80)]),
        (
            "<ref>a</ref><box>[[10,20,30,40]]</box> and <ref>b</ref><box>[[50,60,70,80]]</box>",
            [*FOUND, (50, 60, 70, 80)],
        ),
        ("```\n<box>[[10.0, 20, 30, 40]]</box>\n```", FOUND),
        ("[[10, 20, 30, 40]]", FOUND),
        ("<box>[ [10, 20, 30, 40] , [50, 6", FOUND),  # cut off inside the second box
        ("<think><box>[[1, 2, 3, 4]]</box></think><box>[[10, 20, 30, 40]]</box>", FOUND),
        ("<box>[[30, 20, 10, 40], [10, 20, 30, 40], [NaN, 0, 1, 1], [0, 0, Infinity, 1]]</box>", FOUND),
        (f"<box>[[{HUGE}, 0, 1, 1], [10, 20, 30, 40]]</box>", FOUND),
        ("<box>[[2000, 2000, 3000, 3000], [10, 20, 30, 40]]</box>", FOUND),
        ("<box>[[-50, 20, 1300, 40]]</box>", [(0, 20, 1000, 40)]),
        ("", None),
        ("<ref>stone</ref>", None),
        ("[10, 20, 30, 40]", None),
        ("<box>[[10, 20, 3", None),
        ("<box>[[10, 20, 30]]</box>", None),
        ("<box>[[10, 20, 30, 40, 50]]</box>", None),
        ("<box>[[10, 20, 10, 40]]</box>", None),
        ("<box>[[0, 0, 0, 0]]</box>", None),
        ("<box>[[a, b, c, d]]</box>", None),
        ("<box>[[]]</box>", None),
        ("<box>null</box>", None),
        (f"<box>[[{HUGE}, {HUGE}, {HUGE}, {HUGE}]]</box>", None),
        ("<box>" + "[" * 5000 + "]" * 5000 + "</box>", None),
        ("<think><box>[[10, 20, 30, 40]]</box> and no end", None),
    ],
)
def test_what_is_no_box_is_left_out(text: str, found: list[tuple] | None) -> None:
    read = CODEC.read(text, 100, 100)
    assert (read and [tuple(round(v) for v in b.to_xyxy(1000, 1000)) for b in read]) == found


@given(st.text("[]<>box/ref,.0123456789 -\n") | st.text())
def test_no_text_breaks_it(text: str) -> None:
    for said in (text, f"<box>[[{text}]]</box>"):
        for box in CODEC.read(said, 100, 100) or ():
            assert 0 <= box.x0 < box.x1 <= 1
        assert all(0 <= a < b <= len(said) for a, b in CODEC.spans(said))
        CODEC.strip(said)


def plain(text: str) -> list[str]:
    return CODEC.strip(text).split()


def test_spans_hold_the_coordinates_and_strip_removes_them() -> None:
    text = "A stone at <ref>stone</ref><box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box> is seen."
    assert [text[a:b] for a, b in CODEC.spans(text)] == ["[1, 2, 3, 4]", "[5, 6, 7, 8]"]
    assert plain("<think>a cyst?</think>" + text) == ["A", "stone", "at", "is", "seen."]
    assert plain("The <ref>stone</ref> at [[1, 2, 3, 4]], left.") == ["The", "stone", "at", ",", "left."]
    assert plain("A stone <ref>stone</ref><box>[[1, 2, 3") == ["A", "stone"]
    assert plain("<box>[[NaN, 0, 1, 1]]</box> left") == ["left"]
    assert plain("<box>[[1, 2, 3, 4]] left") == ["left"]  # an end that was never said
