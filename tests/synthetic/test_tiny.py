"""The embedded model's tokenizer: any text comes back, and boxes are short."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from umed.boxes import Box
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import FamilyProcessor
from umed.synthetic.tiny import SPECIAL, STEP, build_tokenizer
from umed.synthetic.tiny_models.qwen3_vl import build

FAMILIES = ("qwen3_vl",)

TOKENIZER = build_tokenizer(["A stone is seen at the left .", "stone"])
TEXTS = st.text() | st.lists(
    st.sampled_from(["stone", " stone", "256", "007", "\n", " ", "é", "骨", "🫁", '[{"bbox_2d":[', '"}]', "'s"])
).map("".join)


@given(TEXTS.filter(lambda text: "<|" not in text))
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text


def test_the_saved_tokenizer_is_the_same(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = 'A stone, 17 mm: [{"bbox_2d":[1,20,255,3],"label":"a stone"}] ~ é'
    assert again(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert again.get_vocab() == TOKENIZER.get_vocab()


@pytest.mark.parametrize("number", [0, 10, 990, 1000])
def test_a_multiple_of_the_step_is_one_token(number: int) -> None:
    assert TOKENIZER.tokenize(f"[{number},{number}]") == ["[", str(number), ",", str(number), "]"]


@pytest.mark.parametrize("number", [7, 999, 1010])
def test_another_number_falls_back_to_its_digits(number: int) -> None:
    assert TOKENIZER.tokenize(f"[{number}]") == ["[", *str(number), "]"]


def test_a_box_is_as_short_as_it_can_be() -> None:
    text = JsonCodec(step=STEP).write([Box(0.012, 0.02, 0.5, 0.7)], "stone", 1000, 1000)
    numbers = ["10", ",", "20", ",", "500", ",", "700"]
    assert TOKENIZER.tokenize(text) == ['[{"bbox_2d":[', *numbers, '],"label":"', "stone", '"}]']


def test_special_tokens_are_whole_and_distinct() -> None:
    ids = [TOKENIZER.convert_tokens_to_ids(t) for t in SPECIAL]
    assert len(set(ids)) == len(SPECIAL)
    assert all(TOKENIZER(t)["input_ids"] == [i] for t, i in zip(SPECIAL, ids, strict=True))
    assert TOKENIZER.pad_token_id != TOKENIZER.eos_token_id


def test_a_built_folder_is_a_checkpoint_of_its_own(processor: FamilyProcessor, tmp_path: Path) -> None:
    build(tmp_path, ["a stone"], hidden=64, layers=1, vision_layers=2, max_pixels=84 * 84)
    processor = type(processor)(str(tmp_path))
    assert processor.eos_ids == (processor.tokenizer.eos_token_id,)
    assert processor.image_processor.size["longest_edge"] == 84 * 84
