"""Families with tiles, thumbnails, line ends and pooled squares: where a token looks, and the prompt of their own."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Gemma3Processor, Idefics3Processor, LlavaNextProcessor

from umed.boxes import Box
from umed.chat import ImageView, Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.features import compute_features
from umed.models.policy import Policy
from umed.synthetic.parity.geometry import uncovered
from umed.synthetic.tiny_models import backbone_of, write_tiny_of

pytestmark = pytest.mark.slow  # each family has a file of its own that runs always
FAMILIES = ("idefics3", "llava_next", "gemma3")
Prompts = Callable[..., list[Prompt]]


def theirs(family: str, ours: FamilyProcessor) -> Callable:
    if family == "gemma3":
        return Gemma3Processor(ours.image_processor, ours.tokenizer, image_seq_length=16)
    if family == "llava_next":
        return LlavaNextProcessor(ours.image_processor, ours.tokenizer, 14, "default", num_additional_image_tokens=1)
    return Idefics3Processor(ours.image_processor, ours.tokenizer, image_seq_len=4)


@pytest.mark.parametrize("size", [(56, 56), (140, 112), (60, 100), (40, 30), (300, 100)])
def test_the_prompt_is_that_of_the_familys_processor(
    family: str, processor: FamilyProcessor, make_prompts: Prompts, size: tuple[int, int]
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    prompt = processor.prompt(image, make_prompts(1)[0].record)
    text = processor.text(prompt.record.query)
    out = theirs(family, processor)(images=image, text=text, return_tensors="pt", add_special_tokens=False)
    assert out["input_ids"][0].tolist() == prompt.inputs["input_ids"].tolist()
    assert prompt.view.tokens == int((out["input_ids"] == processor.image_id).sum())
    torch.testing.assert_close(out["pixel_values"].squeeze(), prompt.inputs["pixel_values"].squeeze())


@pytest.mark.parametrize("size", [(112, 112), (112, 56), (56, 112), (224, 100)])
def test_a_token_looks_where_the_view_says_it_does(
    policy: Callable[..., Policy], processor: FamilyProcessor, make_prompts: Prompts, size: tuple[int, int]
) -> None:
    """Of each scale's tokens, the one whose features change most with a region covers most of it."""
    record, model = make_prompts(1)[0].record, policy().eval().core.model
    gray = np.full((size[1], size[0], 3), 90, dtype=np.uint8)
    for x, y in ((0.13, 0.13), (0.62, 0.38), (0.88, 0.88)):
        bright, box = gray.copy(), Box(max(x - 0.1, 0), max(y - 0.1, 0), min(x + 0.1, 1), min(y + 0.1, 1))
        x0, y0, x1, y1 = (int(v) for v in box.to_xyxy(*size))
        bright[y0:y1, x0:x1] = 255
        prompts = [processor.prompt(Image.fromarray(p), record) for p in (gray, bright)]
        rows = ("input_ids", "attention_mask", "token_type_ids")
        seen = [
            compute_features(model, {k: v for k, v in p.inputs.items() if k not in rows}).pooler_output for p in prompts
        ]
        flat = [torch.cat(list(s)) if isinstance(s, list | tuple) else s.flatten(0, 1) for s in seen]
        change = (flat[0] - flat[1]).norm(dim=-1)
        weights, view = prompts[0].view.patch_weights([box]), prompts[0].view
        assert len(change) == view.tokens
        for scale in {g.scale for g in view.grids}:
            of = torch.cat([torch.full((g.tokens,), g.scale == scale) for g in view.grids])
            best = torch.where(of, change, -1).argmax()
            assert weights[best] >= 0.5 * torch.where(of, weights, 0).max()


@settings(deadline=None, max_examples=25)
@given(st.integers(75, 300), st.integers(75, 300))
@pytest.mark.filterwarnings("ignore")
def test_every_pixel_of_a_scale_lies_in_one_cell(width: int, height: int) -> None:
    for name in FAMILIES:
        view = views(name)(width, height)
        border = backbone_of(name).hidden_border
        assert uncovered(view, border) == 0
        whole = view.patch_weights([Box(0, 0, 1, 1)])
        for scale in {g.scale for g in view.grids}:
            cells = sum(g.rows * g.columns for g in view.grids if g.scale == scale)
            of = torch.cat([torch.full((g.tokens,), g.scale == scale) for g in view.grids])
            assert float(whole[of].sum()) == pytest.approx(cells, rel=1e-4) or (border and whole[of].sum() <= cells)


_VIEWS: dict[str, Callable[[int, int], ImageView]] = {}


def views(name: str) -> Callable[[int, int], ImageView]:
    """The view of a picture of a size, from the family's tiny processor."""
    if name not in _VIEWS:
        from tempfile import mkdtemp

        folder = Path(mkdtemp())
        write_tiny_of(name)(folder, ["a"])
        made = backbone_of(name).processor_class(str(folder))
        _VIEWS[name] = lambda w, h: made.encode_picture(Image.new("RGB", (w, h), (9, 9, 9))).view
    return _VIEWS[name]


def test_what_a_line_end_carries_is_nowhere() -> None:
    view = views("llava_next")(112, 112)
    fine = view.grids[1]
    assert (fine.rows, fine.columns, fine.newline, fine.tokens) == (8, 8, True, 72)
    weights = view.patch_weights([Box(0, 0, 1, 1)])[16:].reshape(8, 9)
    assert (weights[:, :8] == 1).all() and (weights[:, 8] == 0).all()
    heat = view.heat(np.concatenate([np.zeros(16), np.tile([0.0] * 8 + [1.0], 8)]))
    assert heat.sum() == 0


def test_the_heat_of_tiles_lies_where_they_look() -> None:
    view = views("idefics3")(112, 112)
    assert len(view.grids) == 5
    weights = view.patch_weights([Box(0.5, 0, 1, 0.5)]).numpy()
    heat = view.heat(weights)
    assert heat[:32, 32:].min() > 0 and np.delete(heat, np.s_[:32], 0).max() == 0
    assert heat.sum() == pytest.approx(weights.sum())


def test_medgemmas_boxes_refer_to_the_padded_square(tmp_path: Path) -> None:
    write_tiny_of("gemma3")(tmp_path, ["a"])
    padding = backbone_of("gemma3").processor_class(str(tmp_path), pad=True)
    view = padding.encode_picture(Image.new("RGB", (100, 50))).view
    assert view.frame == (0, -0.5, 1, 1.5)
    said = padding.write_boxes([Box(0, 0, 0.5, 1)], "stone", view)
    assert said == '[{"box_2d":[250,0,750,500],"label":"stone"}]'
    assert padding.read_boxes(said, view) == [Box(0, 0, 0.5, 1)]
    assert padding.read_boxes('[{"box_2d":[0,0,200,500],"label":"stone"}]', view) is None  # in the border


def test_a_picture_with_more_tokens_than_the_context_is_refused(
    family: str, tiny_folder: Path, processor: FamilyProcessor, make_prompts: Prompts
) -> None:
    record = make_prompts(1)[0].record
    length = len(processor.prompt(Image.new("RGB", (112, 112)), record).inputs["input_ids"])
    small = type(processor)(str(tiny_folder), max_prompt_tokens=length - 1)
    with pytest.raises(InputError, match=f"{record.id}: the prompt has {length} tokens") as error:
        small.prompt(Image.new("RGB", (112, 112)), record)
    assert "\n" not in str(error.value)
    if family in ("idefics3", "smolvlm"):
        assert "set model.processor.longest_edge=56 or less" in str(error.value)
        fits = type(processor)(str(tiny_folder), longest_edge=56, max_prompt_tokens=length - 1)
        assert fits.prompt(Image.new("RGB", (112, 112)), record).view.tokens == 4


def test_prompts_of_different_tiles_are_read_together(
    policy: Callable[..., Policy], processor: FamilyProcessor, make_prompts: Prompts
) -> None:
    pi, prompts = policy(), make_prompts(3, (56, 56), (112, 112), (112, 40))
    ids, mask = torch.full((3, 4), 60), torch.ones(3, 4, dtype=torch.bool)
    together = pi.score(prompts, ids, mask).logp_BT
    for i, p in enumerate(prompts):
        torch.testing.assert_close(pi.score([p], ids[:1], mask[:1]).logp_BT[0], together[i], atol=1e-5, rtol=0)


def test_what_an_answer_ends_with(family: str, processor: FamilyProcessor) -> None:
    ends: Sequence[str] = processor.tokenizer.convert_ids_to_tokens(list(processor.eos_ids))
    expected = {"gemma3": ["<end_of_turn>", "<eos>"], "llava_next": ["<|im_end|>"]}
    assert ends == expected.get(family, ["<end_of_utterance>", "<|im_end|>"])
