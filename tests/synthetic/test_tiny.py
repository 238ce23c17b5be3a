"""The embedded model's tokenizer: any text comes back, and boxes are short."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerFast

import umed
from umed.annotate.offline import OfflineAnnotator
from umed.boxes import Box
from umed.chat import say_region
from umed.models.backbones.json_codec import JsonCodec
from umed.models.family import FamilyProcessor
from umed.records import Record
from umed.synthetic.tiny import SPECIAL, STEP, build_tokenizer
from umed.synthetic.tiny_models.qwen3_vl import build

FAMILIES = ("qwen3_vl",)
EMBEDDED = Path(umed.__file__).parent / "models" / "tiny_base"

TOKENIZER = build_tokenizer(["A stone is seen at the left .", "stone"])
# as the embedded model has it: phrases, and coordinates with their comma
SHORT = build_tokenizer(
    ["A soft tissue lesion", "soft"], step=20, phrases=[" soft tissue", ", in the", "soft tissue", ": "], commas=True
)
PIECES = ["stone", " stone", "256", "007", "\n", " ", "é", "骨", "🫁", '[{"bbox_2d":[', '"}]', "'s"]
TEXTS = st.text() | st.lists(st.sampled_from([*PIECES, "40,", ",", "soft tissue", ", in the", ": "])).map("".join)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, SHORT], ids=["words", "phrases"])
@given(text=TEXTS.filter(lambda text: "<|" not in text))
def test_any_text_comes_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A soft tissue lesion", ["A", " soft tissue", " lesion"]),
        ("soft tissues", ["soft", *" tissues"]),  # no part of a longer word
        ("[20,1000]", ["[", "20,", "1000", "]"]),
        ("30,", ["3", "0", ","]),
        ("a, in then", ["a", ",", *" in", *" then"]),
    ],
)
def test_a_phrase_and_a_number_with_its_comma_are_one_token(text: str, tokens: list[str]) -> None:
    assert [SHORT.decode(i) for i in SHORT(text)["input_ids"]] == tokens


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


def test_an_image_token_can_be_a_single_patch(processor: FamilyProcessor, tmp_path: Path) -> None:
    build(tmp_path, ["a stone"], hidden=64, layers=1, vision_layers=2, patch=14, merge=1, max_pixels=56 * 56)
    processor = type(processor)(str(tmp_path))
    record = Record("s/0", "s", "0.png", 90, 60, (Box(0, 0, 0.5, 1),), "stone", "CT", "g", query="a stone")
    prompt = processor.prompt(Image.new("RGB", (90, 60)), record)
    (grid,) = prompt.view.grids
    assert (grid.rows, grid.columns) == (3, 4) and (prompt.view.seen_width, prompt.view.seen_height) == (56, 42)
    assert prompt.view.patch_weights(record.boxes).tolist() == [1, 1, 0, 0] * 3
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    with torch.no_grad():
        features = model.model.visual(prompt.inputs["pixel_values"], grid_thw=prompt.inputs["image_grid_thw"])
    assert features.pooler_output.shape == (12, 64) and [f.shape for f in features.deepstack_features] == [(12, 64)]


def test_the_embedded_model_writes_short_answers() -> None:
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    box, lengths = Box(0.21, 0.3, 0.52, 0.71), []
    for number in range(50):
        record = Record(f"s/{number}", "s", "0.png", 128, 128, (box,), "kidney stone", "CT", "g")
        told = OfflineAnnotator().describe(record).diagnosis
        text = say_region(told, JsonCodec(step=20, scale=1000).write([box], "kidney stone", 128, 128))
        lengths.append(len(tokenizer(text)["input_ids"]) + 1)
    assert max(lengths) <= 24
