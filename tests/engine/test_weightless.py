"""Policies without data: shapes as published, prompts of known length, and configurations that cannot be read."""

import json
from pathlib import Path

import pytest
import torch
from composed import CONF, composed
from omegaconf import OmegaConf

from umed.engine.weightless import PUBLISHED, build_processor, build_weightless, encode_prompts, quantized_bytes
from umed.errors import InputError

# millions of parameters, as the hub counts them in the files of each model
PARAMETERS = {
    "gemma3_4b": 4300.1, "gemma4_e2b": 5104, "idefics3_8b": 8462, "internvl3_2b": 2089, "internvl3_8b": 7944,
    "llama3_2_11b_vision": 10670, "llava_1_5_7b": 7063, "llava_next_7b": 7567, "medgemma_4b": 4300,
    "medvint_td": 6878.3,  # as the sum of its published parts
    "paligemma2_3b": 3033, "paligemma_3b": 2924, "qwen2_5_vl_3b": 3755, "qwen2_5_vl_7b": 8292, "qwen3_5_2b": 2213,
    "qwen3_vl_2b": 2128, "qwen3_vl_4b": 4438, "qwen3_vl_8b": 8767, "smolvlm_256m": 256.5, "smolvlm_2b": 2247,
}  # fmt: skip


def test_every_model_with_a_hub_id_has_its_shapes() -> None:
    yamls = {p.stem: OmegaConf.load(p) for p in (CONF / "model").glob("*.yaml")}
    paths = {name: cfg.path for name, cfg in yamls.items() if str(cfg.get("path", "$")).count("/") == 1}
    named = {name for name, path in paths.items() if "$" not in path}
    assert named == PARAMETERS.keys()
    assert {Path(paths[name]).name for name in named} == {p.stem for p in PUBLISHED.glob("*.json")}


@pytest.mark.slow
@pytest.mark.parametrize("model", PARAMETERS)
def test_shapes_are_the_published_ones(model: str) -> None:
    cfg = composed(f"model={model}", "model.adapter=null")
    policy = build_weightless(cfg, build_processor(cfg))
    assert all(p.is_meta for p in policy.parameters()) and policy.training
    count = sum(p.numel() for p in policy.model.parameters()) / 1e6
    assert count == pytest.approx(PARAMETERS[model], rel=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "image"),
    [
        ("smolvlm_256m", 320), ("qwen2_5_vl_7b", 512), ("qwen3_vl_8b", 512), ("internvl3_8b", 1280),
        ("gemma3_4b", 256), ("llava_1_5_7b", 576), ("llava_next_7b", 2928), ("paligemma2_3b", 1024),
        ("idefics3_8b", 845), ("llama3_2_11b_vision", 0), ("medvint_td", 32),
    ],
)  # fmt: skip
def test_the_picture_has_the_shape_that_takes_most_tokens(model: str, image: int) -> None:
    """The numbers are those in the comments of conf/model."""
    processor = build_processor(composed(f"model={model}"))
    long, short = encode_prompts(processor, 40)
    assert long.view.tokens == short.view.tokens == image
    ids = [len(p.inputs["input_ids"]) for p in (long, short)]
    assert image + 40 <= ids[0] == ids[1] + 1 <= image + 60  # a few more mark the picture's parts


def test_prompts_of_the_embedded_model() -> None:
    long, short = encode_prompts(build_processor(composed("model=tiny")), 20)
    assert long.view.tokens == 64 and [len(p.inputs["input_ids"]) for p in (long, short)] == [84, 83]
    assert long.inputs["pixel_values"] is short.inputs["pixel_values"]


def test_a_folder_with_a_configuration_is_enough(tmp_path: Path) -> None:
    shapes = json.loads((PUBLISHED / "SmolVLM2-256M-Video-Instruct.json").read_text())
    shapes["config"]["text_config"]["num_hidden_layers"] = 1
    (tmp_path / "config.json").write_text(json.dumps(shapes["config"]))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(shapes["image_processor"]))
    cfg = composed("model=smolvlm_256m", f"model.path={tmp_path}")
    policy = build_weightless(cfg, build_processor(cfg), 0.0)
    assert len(policy.core.model.text_model.layers) == 1
    dtypes = {p.dtype for n, p in policy.model.named_parameters() if "lora_" in n}
    assert dtypes == {torch.float32} and policy.core.lm_head.weight.dtype == torch.bfloat16
    spared, unpacked = quantized_bytes(policy)
    layer = 4 * 576 * 576 + 3 * 576 * 1536 - 2 * 576 * 384  # numbers in the projections of one layer
    assert spared == pytest.approx(layer * (2 - 4.127 / 8), rel=1e-6) and unpacked == 576 * 1536 * 2


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no config.json can be read there"),
        ({"config.json": "{"}, "cannot be followed"),
        ({"config.json": '{"model_type": "gpt2"}', "preprocessor_config.json": "{}"}, "gpt2"),
        ({"config.json": '{"model_type": "nothing"}'}, "nothing"),
    ],
)
def test_a_configuration_that_cannot_be_read(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        build_processor(composed("model=smolvlm_256m", f"model.path={tmp_path}"))
    assert str(error.value).startswith(f"model.path={tmp_path}")
    assert "/tmp" not in str(error.value).replace(str(tmp_path), "")


def test_a_model_that_is_nowhere() -> None:
    with pytest.raises(InputError, match="model.path=nobody/nothing: no config.json can be read there"):
        build_processor(composed("model=smolvlm_256m", "model.path=nobody/nothing"))
