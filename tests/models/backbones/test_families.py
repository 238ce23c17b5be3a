"""Every family: its prompt is that of transformers' own processor, its tokens tile the picture, its boxes come back."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import ProcessorMixin

from umed.boxes import Box, iou_union
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.medvint import MedVInTProcessor
from umed.synthetic.parity.geometry import uncovered
from umed.synthetic.tiny_models import backbone_of, family_names, write_tiny_of

FAMILIES = tuple(family_names())
SIZES = ((56, 56), (140, 112), (60, 101), (300, 90))
SPECIAL = {"return_tensors": "pt", "add_special_tokens": False}
Prompts = Callable[..., list[Prompt]]

# the box over the left half of a whole picture, and what ends an answer
CONVENTIONS = {
    "gemma3": ('[{"box_2d":[0,0,1000,500],"label":"stone"}]', ["<end_of_turn>", "<eos>"]),
    "gemma4": ('[{"box_2d":[0,0,1000,500],"label":"stone"}]', ["<turn|>", "<eos>"]),
    "idefics3": ('[{"bbox_2d":[0,0,500,1000],"label":"stone"}]', ["<end_of_utterance>", "<|im_end|>"]),
    "internvl": ("<ref>stone</ref><box>[[0, 0, 500, 1000]]</box>", ["<|im_end|>"]),
    "llava": ("[0.00, 0.00, 0.50, 1.00]", ["<|im_end|>"]),
    "llava_next": ("[0.00, 0.00, 0.50, 1.00]", ["<|im_end|>"]),
    "medvint": ("[0, 0, 500, 1000]", ["<s>", "</s>"]),  # the end of published training, then LLaMA's
    "medvint_mlp": ("[0, 0, 500, 1000]", ["<s>", "</s>"]),
    "mllama": ('[{"bbox_2d":[0,0,500,1000],"label":"stone"}]', ["<|eot_id|>", "<|end_of_text|>"]),
    "paligemma": ("<loc0000><loc0000><loc1023><loc0512>", ["<eos>"]),
    "qwen2_5_vl": ('[{"bbox_2d":[0,0,56,112],"label":"stone"}]', ["<|im_end|>"]),  # pixels of the resized picture
    "qwen3_5": ('[{"bbox_2d":[0,0,500,1000],"label":"stone"}]', ["<|im_end|>"]),
    "qwen3_vl": ('[{"bbox_2d":[0,0,500,1000],"label":"stone"}]', ["<|im_end|>"]),
    "smolvlm": ('[{"bbox_2d":[0,0,500,1000],"label":"stone"}]', ["<end_of_utterance>", "<|im_end|>"]),
}


def pictures_only(base: type, **tokens: str) -> type:
    """A processor of transformers without its parts for video and sound, which need torchvision."""

    class Pictures(base):  # type: ignore[misc]
        def __init__(self, image_processor: Any, tokenizer: Any, **options: Any) -> None:
            for name, token in tokens.items():
                setattr(self, f"{name}_token", token)
                setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
            for name, value in options.items():
                setattr(self, name, value)
            ProcessorMixin.__init__(self, image_processor, tokenizer)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return ["image_processor", "tokenizer"]

    return Pictures


class InternVL(transformers.InternVLProcessor):
    """Without videos, whose processor needs more than is installed here."""

    def check_argument_for_proper_class(self, argument_name: str, argument: object) -> object:
        if argument_name != "video_processor":
            return super().check_argument_for_proper_class(argument_name, argument)
        return type(argument)


def theirs(family: str, ours: FamilyProcessor) -> Any:
    pictures, tokenizer = ours.image_processor, ours.tokenizer
    qwen = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    gemma4 = {"image": "<|image|>", "boi": "<|image>", "eoi": "<image|>", "video": "<|video|>", "audio": "<|audio|>",
              "boa": "<|audio>", "eoa": "<audio|>"}  # fmt: skip
    llava = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    make: dict[str, Callable[[], Any]] = {
        "gemma3": lambda: transformers.Gemma3Processor(pictures, tokenizer, image_seq_length=16),
        "gemma4": lambda: pictures_only(transformers.Gemma4Processor, **gemma4)(pictures, tokenizer),
        "idefics3": lambda: transformers.Idefics3Processor(pictures, tokenizer, image_seq_len=4),
        "internvl": lambda: InternVL(pictures, tokenizer, None, image_seq_length=4),
        "llava": lambda: transformers.LlavaProcessor(pictures, tokenizer, **llava),
        "llava_next": lambda: transformers.LlavaNextProcessor(pictures, tokenizer, **llava),
        "medvint": lambda: MedVInTProcessor(pictures, tokenizer, num_image_tokens=8),
        "medvint_mlp": lambda: MedVInTProcessor(pictures, tokenizer, num_image_tokens=1),
        "mllama": lambda: transformers.MllamaProcessor(pictures, tokenizer),
        "paligemma": lambda: transformers.PaliGemmaProcessor(pictures, tokenizer),
        "qwen2_5_vl": lambda: pictures_only(transformers.Qwen2_5_VLProcessor, **qwen)(pictures, tokenizer),
        "qwen3_5": lambda: pictures_only(transformers.Qwen3VLProcessor, **qwen)(pictures, tokenizer),
        "qwen3_vl": lambda: pictures_only(transformers.Qwen3VLProcessor, **qwen)(pictures, tokenizer),
        "smolvlm": lambda: transformers.Idefics3Processor(pictures, tokenizer, image_seq_len=4),
    }
    if family not in make:
        pytest.skip("no processor of transformers is named for this family")
    return make[family]()


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_the_prompt_is_that_of_the_familys_processor(
    family: str, processor: FamilyProcessor, make_prompts: Prompts
) -> None:
    record, reference = make_prompts(1)[0].record, theirs(family, processor)
    for size in SIZES:
        prompt = processor.prompt(noise(*size), record)
        text = f"<image>{record.query}" if family == "paligemma" else processor.text(record.query)
        options = {"return_tensors": "np"} if family == "paligemma" else SPECIAL
        out = reference(images=noise(*size), text=text, **options)
        assert {"input_ids", "pixel_values"} <= prompt.inputs.keys() & out.keys()
        for name in prompt.inputs.keys() & out.keys():
            assert torch.equal(torch.as_tensor(out[name]).squeeze(), prompt.inputs[name].squeeze()), (name, size)
        assert int((prompt.inputs["input_ids"] == processor.image_id).sum()) == max(prompt.view.tokens, 1)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(57, 320),
    height=st.integers(57, 320),
    edges=st.lists(st.tuples(*[st.integers(0, 10**4).map(lambda n: n / 10**4)] * 4), min_size=1, max_size=3),
)
@example(width=113, height=75, edges=[(0, 0, 1, 1), (0.999, 0.999, 1, 1), (0, 0, 1e-4, 1e-4)])
@pytest.mark.filterwarnings("ignore")
def test_tokens_tile_the_picture_and_boxes_come_back_within_a_step(
    family: str, processor: FamilyProcessor, width: int, height: int, edges: list[tuple[float, ...]]
) -> None:
    view = processor.encode_picture(Image.new("RGB", (width, height), (9, 9, 9))).view
    border = backbone_of(family).hidden_border
    assert (view.width, view.height) == (width, height)
    assert not view.grids or uncovered(view, border) == 0
    boxes = [Box(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in edges if a != c and b != d]
    boxes.sort(key=lambda b: (b.y0, b.x0))
    text = f"A stone at {processor.write_boxes(boxes, 'stone', view)}."
    read = processor.read_boxes(text, view) or []
    assert len(read) == len(boxes)
    x0, y0, x1, y1 = view.frame
    across, down = processor.codec.quantum(*processor.units(view))
    step = np.array([across * (x1 - x0), down * (y1 - y0)] * 2) + 1e-9
    for one, two in zip(boxes, read, strict=True):
        assert (np.abs(np.subtract((one.x0, one.y0, one.x1, one.y1), (two.x0, two.y0, two.x1, two.y1))) <= step).all()


@pytest.mark.parametrize("size", [(2, 900), (900, 1), (3, 3)])
def test_a_picture_of_two_columns_is_tiled_or_refused_in_one_line(
    family: str, processor: FamilyProcessor, make_prompts: Prompts, size: tuple[int, int]
) -> None:
    record = make_prompts(1)[0].record
    try:
        view = processor.prompt(noise(*size), record).view
    except InputError as error:
        assert f"{record.id}: {record.image} has {size[0]} x {size[1]} pixels" in str(error) and "\n" not in str(error)
        assert family not in CONVENTIONS or family in ("llava_next", "qwen2_5_vl", "qwen3_5", "qwen3_vl")
    else:
        assert not view.grids or uncovered(view, backbone_of(family).hidden_border) == 0


def test_the_answer_is_the_diagnosis_with_its_region_and_one_end(
    family: str, processor: FamilyProcessor, make_prompts: Prompts
) -> None:
    if family in CONVENTIONS:  # a new family needs no line here
        text, ends = CONVENTIONS[family]
        view = processor.encode_picture(Image.new("RGB", (112, 112))).view
        assert processor.write_boxes([Box(0, 0, 0.5, 1)], "stone", view) == text
        assert processor.tokenizer.convert_ids_to_tokens(list(processor.eos_ids)) == ends

    prompt = make_prompts(2, boxes=2)[1]
    ids = prompt.answer.tolist()
    assert ids[-1] == processor.eos_ids[0] and ids.count(processor.eos_ids[0]) == 1
    answer = processor.decode(ids)
    assert answer == f"A cyst is seen at {processor.write_boxes(prompt.record.boxes, 'cyst', prompt.view)}."
    assert "".join(processor.pieces(ids)) == answer
    assert iou_union(processor.read_boxes(answer, prompt.view) or [], prompt.record.boxes) > 0.9
    assert prompt.gold == "A cyst is seen at."
    assert processor.plain(answer).replace(",", "") == prompt.gold  # LLaVA's comma between two boxes remains
    never = {processor.image_token, processor.marker, *processor.suppressed} & processor.tokenizer.get_vocab().keys()
    assert set(processor.tokenizer.convert_ids_to_tokens(list(processor.suppressed_ids))) == never


def test_a_prompt_that_is_too_long_is_refused_in_one_line(
    processor: FamilyProcessor, tiny_folder: Any, make_prompts: Prompts
) -> None:
    record, image = make_prompts(1)[0].record, noise(112, 112)
    length = len(processor.prompt(image, record).inputs["input_ids"])
    short = type(processor)(str(tiny_folder), max_prompt_tokens=length - 1)
    with pytest.raises(InputError, match=rf"{record.id}: the prompt has {length} tokens.*max_prompt_tokens") as error:
        short.prompt(image, record)
    assert "\n" not in str(error.value)
    assert len(type(processor)(str(tiny_folder), max_prompt_tokens=length).prompt(image, record).answer)


def test_a_new_family_brings_its_tiny_model_in_its_own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("umed.models.backbones.stranger")
    module.write_tiny = lambda folder, corpus: None
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert write_tiny_of("stranger") is module.write_tiny
    assert write_tiny_of("qwen3_vl").__module__ == "umed.synthetic.tiny_models.qwen3_vl"


def test_no_prompt_leaves_the_model_inside_a_thought(
    processor: FamilyProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Templates of models that always think begin the thought, whatever they are told."""
    begun = "{{ messages[0] }}" if processor.tokenizer.chat_template is None else processor.tokenizer.chat_template
    monkeypatch.setattr(processor.tokenizer, "chat_template", begun + "{{ '<think>\n' }}")
    ends = processor.text("Where?").endswith("<think>\n\n</think>\n\n")
    assert ends or "<think>" not in processor.text("Where?")  # PaliGemma and MedVInT have no template


def test_tags_of_thoughts_stay_in_the_text(processor: FamilyProcessor) -> None:
    """Also where they are special tokens; all others are left out."""
    tokenizer = processor.tokenizer
    silent = [i for i, token in tokenizer.added_tokens_decoder.items() if token.special and str(token) != "<|channel>"]
    shown = {"<ref>", "</ref>", "<box>", "</box>"} & tokenizer.get_vocab().keys()
    ids = [*silent, *processor.encode("<think>a stone</think> A cyst"), *silent]
    marks = "".join(tokenizer.decode([i]) for i in silent if tokenizer.decode([i]) in shown)
    assert processor.decode(ids) == f"{marks}<think>a stone</think> A cyst{marks}"
    if type(processor).__name__ == "Gemma4Processor":
        assert processor.decode(tokenizer.convert_tokens_to_ids(["<turn|>", "<|channel>"])) == "<|channel>"
