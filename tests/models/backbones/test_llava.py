"""LLaVA: where the square lies, what the model sees of it, and the prompt of transformers' own processor."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import LlavaProcessor as Theirs

from umed.boxes import Box
from umed.chat import Prompt
from umed.models.backbones.float_codec import FloatCodec
from umed.models.family import FamilyProcessor

FAMILIES = ("llava",)
FITS = ("pad", "squash", "checkpoint")


@pytest.fixture(params=FITS)
def fitted(request: pytest.FixtureRequest, processor: FamilyProcessor, tiny_folder: Path) -> FamilyProcessor:
    return type(processor)(str(tiny_folder), fit=request.param)


@pytest.mark.parametrize("size", [(100, 50), (51, 100), (56, 56)])
def test_a_patch_is_seen_where_the_view_says_it_is(
    fitted: FamilyProcessor, make_prompts: Callable[..., list[Prompt]], size: tuple[int, int]
) -> None:
    """A bright patch of the image changes the pixels of its own tokens, and only those around it."""
    record, view = make_prompts(1)[0].record, None
    dark = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    bright = dark.copy()
    x, y = size[0] // 2, size[1] // 2
    bright[y : y + 8, x : x + 8] = 255
    one, two = (fitted.prompt(Image.fromarray(p), record) for p in (dark, bright))
    view = one.view
    change = (one.inputs["pixel_values"] - two.inputs["pixel_values"]).abs().sum(1)[0]
    tokens = change.reshape(4, 14, 4, 14).sum((1, 3)).flatten()
    weights = view.patch_weights([Box(x / size[0], y / size[1], (x + 8) / size[0], (y + 8) / size[1])])
    assert int(tokens.argmax()) == int(weights.argmax())
    corr = torch.corrcoef(torch.stack([tokens, weights]))[0, 1]
    assert corr > 0.9


def test_the_frame_of_a_padded_picture(processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]]) -> None:
    view = processor.prompt(Image.new("RGB", (100, 50)), make_prompts(1)[0].record).view
    assert view.frame == (0, -0.5, 1, 1.5)
    said = processor.write_boxes([Box(0, 0, 0.5, 1)], "stone", view)
    assert said == "[0.00, 0.25, 0.50, 0.75]"
    assert processor.read_boxes("[0.00, 0.00, 0.50, 0.20]", view) is None  # in the padding
    assert processor.read_boxes("[0.00, 0.00, 0.50, 0.75]", view) == [Box(0, 0, 0.5, 1)]


def test_the_prompt_is_that_of_the_familys_processor(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    prompt = make_prompts(1)[0]
    theirs = Theirs(processor.image_processor, processor.tokenizer, 14, "default", num_additional_image_tokens=1)
    out = theirs(images=Image.new("RGB", (60, 60)), text=processor.text(prompt.record.query), return_tensors="pt")
    assert out["input_ids"][0].tolist() == prompt.inputs["input_ids"].tolist()


def test_what_a_center_crop_hides_is_in_no_cell(tiny_folder: Path, processor: FamilyProcessor, make_prompts) -> None:
    cropping = type(processor)(str(tiny_folder), fit="checkpoint")
    view = cropping.prompt(Image.new("RGB", (100, 50)), make_prompts(1)[0].record).view
    assert (view.patch_weights([Box(0, 0, 0.24, 1)]) == 0).all()
    torch.testing.assert_close(view.patch_weights([Box(0.25, 0, 0.75, 1)]), torch.ones(16))


UNIT = st.floats(0, 1)
BOXES = st.tuples(UNIT, UNIT, UNIT, UNIT).filter(lambda c: c[0] != c[2] and c[1] != c[3])


@given(st.lists(BOXES, min_size=1, max_size=4), st.sampled_from([2, 3]))
def test_round_trip_within_a_step(corners: list[tuple], digits: int) -> None:
    boxes = [Box(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    codec = FloatCodec(digits)
    text = codec.write(boxes, "stone", 1, 1)
    read = codec.read(f"A stone at {text}.", 1, 1)
    assert read is not None and len(read) == len(boxes)
    for one, two in zip(sorted(boxes, key=lambda b: (b.y0, b.x0)), read, strict=True):
        for name in ("x0", "y0", "x1", "y1"):
            assert abs(getattr(one, name) - getattr(two, name)) <= 10**-digits + 1e-9


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("[0.5, 0.5, 0.1, 0.1]", 0),
        ("[nan, 0, 1, 1]", 0),
        ("[inf, 0, 1, 1]", 0),
        ("[0.1, 0.2, 0.3", 0),
        ("[0.1,0.2,0.3,0.4", 0),
        ("<think>[0.1, 0.1, 0.2, 0.2]</think> none", 0),
        ("```[0, 0, 1, 1]``` and [.1, .2, .3, .4]", 2),
        ("[0.1, 0.1, 7e30, 1]", 0),
        ("[0.2, 0.2, 99999999999999999999, 1]", 1),
        ("[-0.5, -0.5, 0.5, 0.5]", 1),
    ],
)
def test_what_is_no_box_is_left_out(text: str, count: int) -> None:
    assert len(FloatCodec().read(text, 1, 1) or ()) == count


def test_spans_and_strip() -> None:
    text = "A stone at [0.1, 0.2, 0.3, 0.4] here."
    assert [text[a:b] for a, b in FloatCodec().spans(text)] == ["[0.1, 0.2, 0.3, 0.4]"]
    assert FloatCodec().strip(text).split() == ["A", "stone", "at", "here."]
