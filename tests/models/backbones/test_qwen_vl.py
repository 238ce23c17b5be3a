"""Prompt, image view, codec and collation of the Qwen-VL families, against transformers' own."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from umed.boxes import Box
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.backbones.qwen2_5_vl import Qwen25VLProcessor
from umed.models.backbones.qwen3_vl import Qwen3VLProcessor

FAMILIES = ("qwen3_vl", "qwen2_5_vl")

# height x width -> resized height x width, token rows x columns; each family's released patch and pixel budget
VECTORS = {
    "qwen2_5_vl": [
        ((512, 512), (504, 504), (18, 18)),
        ((1024, 1024), (980, 980), (35, 35)),
        ((320, 391), (308, 392), (11, 14)),
        ((640, 640), (644, 644), (23, 23)),
        ((576, 720), (588, 728), (21, 26)),
        ((1072, 1920), (728, 1316), (26, 47)),
        ((332, 487), (336, 476), (12, 17)),
    ],
    "qwen3_vl": [
        ((512, 512), (512, 512), (16, 16)),
        ((1024, 1024), (1024, 1024), (32, 32)),
        ((320, 391), (320, 384), (10, 12)),
        ((576, 720), (576, 704), (18, 22)),
        ((1072, 1920), (1088, 1920), (34, 60)),
    ],
}
RELEASED = {
    "qwen2_5_vl": {"patch_size": 14, "min_pixels": 56 * 56, "max_pixels": 14 * 14 * 4 * 1280},
    "qwen3_vl": {"patch_size": 16, "min_pixels": 65_536, "max_pixels": 16_777_216},
}


@pytest.fixture(scope="module")
def released(
    family: str, tiny_folder: Path, processor: Qwen25VLProcessor, tmp_path_factory: pytest.TempPathFactory
) -> Qwen25VLProcessor:
    """The tiny model's tokenizer with the image processor as the family was released."""
    folder = tmp_path_factory.mktemp("released")
    config = AutoConfig.from_pretrained(tiny_folder)
    config.text_config.max_position_embeddings = 4096
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(folder)
    Qwen2VLImageProcessorPil(**RELEASED[family]).save_pretrained(folder)
    return type(processor)(str(folder), max_prompt_tokens=3000)


def test_view_and_tokens_of_known_sizes(
    family: str, released: Qwen25VLProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    for size, seen, grid in VECTORS[family]:
        record = replace(make_prompts(1)[0].record, width=size[1], height=size[0])
        prompt = released.prompt(Image.new("RGB", size[::-1]), record)
        view = prompt.view
        assert (view.height, view.width) == size
        assert (view.seen_height, view.seen_width) == seen
        assert (view.grids[0].rows, view.grids[0].columns) == grid
        assert int((prompt.inputs["input_ids"] == released.image_id).sum()) == grid[0] * grid[1]
        weights = view.patch_weights([Box(0, 0, 1, 1)])
        assert weights.shape == (grid[0] * grid[1],) and float(weights.sum()) == pytest.approx(grid[0] * grid[1])


def test_a_query_alone_has_no_answer(processor: Qwen25VLProcessor, make_prompts: Callable[..., list[Prompt]]) -> None:
    record = replace(make_prompts(1)[0].record, diagnosis="")
    assert len(processor.prompt(Image.new("RGB", (56, 56)), record).answer) == 0


def test_collate_pads_on_the_left_and_keeps_the_order_of_pictures(
    processor: Qwen25VLProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    prompts = make_prompts(3)
    batch = processor.collate(prompts)
    start = 0
    for i, p in enumerate(prompts):
        n = len(p.inputs["input_ids"])
        assert batch["input_ids"][i, -n:].tolist() == p.inputs["input_ids"].tolist()
        assert batch["attention_mask"][i].sum() == n and batch["attention_mask"][i, -n:].all()
        assert int(batch["mm_token_type_ids"][i].sum()) == p.view.tokens
        rows = len(p.inputs["pixel_values"])
        assert torch.equal(batch["pixel_values"][start : start + rows], p.inputs["pixel_values"])
        start += rows
    assert batch["image_grid_thw"].shape == (3, 3)


def test_the_pixel_budget_can_be_lowered(
    processor: Qwen25VLProcessor, tiny_folder: Path, make_prompts: Callable[..., list[Prompt]]
) -> None:
    small = type(processor)(str(tiny_folder), max_pixels=56 * 56)
    view = small.prompt(Image.new("RGB", (300, 300)), make_prompts(1)[0].record).view
    assert view.tokens <= 4
    full = type(processor)(str(tiny_folder))  # and does not leak into another processor
    assert full.image_processor.size["longest_edge"] == 112 * 112


@pytest.mark.parametrize("text", ["a stone is seen", "é骨🫁 in one text", "", '[{"bbox_2d":[1,2,3,4],"label":"é"}]'])
def test_pieces_join_to_the_text(processor: Qwen25VLProcessor, text: str) -> None:
    ids = [*processor.tokenizer(text, add_special_tokens=False)["input_ids"], processor.eos_ids[0]]
    pieces = processor.pieces(ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == processor.decode(ids) == text


def test_another_family_is_refused(family: str, processor: Qwen25VLProcessor, tiny_folder: Path) -> None:
    other = Qwen3VLProcessor if family == "qwen2_5_vl" else Qwen25VLProcessor
    with pytest.raises(InputError, match=f"a {family} checkpoint, but model.backbone reads {other.model_type}"):
        other(str(tiny_folder))


def test_a_saved_processor_is_the_same(processor: Qwen25VLProcessor, tiny_folder: Path, tmp_path: Path) -> None:
    AutoConfig.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    processor.save(str(tmp_path))
    again = type(processor)(str(tmp_path))
    assert again.eos_ids == processor.eos_ids and again.suppressed_ids == processor.suppressed_ids
    assert dict(again.image_processor.size) == dict(processor.image_processor.size)


@pytest.mark.parametrize("said", [[7, 3], 7, None])
def test_every_end_that_the_checkpoint_names_ends_an_answer_also_of_a_hub_id(
    processor: Qwen25VLProcessor,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: list[int] | int | None,
) -> None:
    """The tokenizer's own end first; a checkpoint without generation_config.json (`None`) has that one alone."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot, refs = (tmp_path / "models--org--vlm" / name for name in ("snapshots", "refs"))
    shutil.copytree(tiny_folder, snapshot / ("0" * 40))
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    config = snapshot / ("0" * 40) / "generation_config.json"
    config.unlink(missing_ok=True)
    if said is not None:
        config.write_text(json.dumps({"eos_token_id": said}))
    own = processor.tokenizer.eos_token_id
    expected = (own, *([said] if isinstance(said, int) else said or []))
    assert type(processor)("org/vlm").eos_ids == expected
    assert type(processor)(str(snapshot / ("0" * 40))).eos_ids == expected
