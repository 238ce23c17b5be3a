"""A whole model's files hold exactly its tensors, or it is refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from umed.errors import InputError
from umed.models.weights import INDEX, check_tensors, load_whole
from umed.synthetic.tiny_models import backbone_of

FAMILIES = ("qwen3_vl",)
FILE, EMBEDDINGS, TEXT = "model.safetensors", "model.language_model.embed_tokens.weight", "model.language_model."


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def load(folder: Path) -> Any:
    return load_whole(backbone_of("qwen3_vl").model_class, str(folder), "model.path=X")


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        load(folder)
    assert str(error.value).startswith("model.path=X: ") and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda t: {n: v for n, v in t.items() if n != EMBEDDINGS},
            "has 62, 62 fit (expected model.language_model.emb",
        ),
        (lambda t: {**t, "model.eyes": torch.ones(1)}, "has 64, 63 fit (nothing else expected, found model.eyes)"),
        (lambda t: {**t, EMBEDDINGS: t[EMBEDDINGS][:9] + 0}, "has 63, 62 fit (expected model.language_model.embed_tok"),
        (lambda t: {n.replace(TEXT, "model."): v for n, v in t.items() if TEXT in n}, "has 24, 0 fit"),
        (lambda t: {}, "has 0, 0 fit"),
    ],
    ids=["one is missing", "one too many", "another size", "a bare decoder", "nothing"],
)
def test_any_other_set_of_tensors_is_refused_with_both_counts(
    folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], told: str
) -> None:
    save_file(change(load_file(folder / FILE)), folder / FILE, {"format": "pt"})
    assert "the model expects 63 tensors, the file" in (line := refusal(folder)) and told in line


def test_a_tied_weight_in_the_file_is_no_difference(folder: Path) -> None:
    tensors = load_file(folder / FILE)
    assert "lm_head.weight" not in tensors
    save_file({**tensors, "lm_head.weight": tensors[EMBEDDINGS] + 0}, folder / FILE, {"format": "pt"})
    assert torch.equal(load(folder).lm_head.weight, tensors[EMBEDDINGS])


def test_shards_that_are_not_all_there_and_pickles_are_refused(folder: Path) -> None:
    names = load_file(folder / FILE).keys()
    (folder / FILE).rename(folder / "model-00001-of-00002.safetensors")
    assert "no file named model.safetensors" in refusal(folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    assert "no file named model.safetensors" in refusal(folder)
    shards = [f"model-0000{1 + i % 2}-of-00002.safetensors" for i in range(len(names))]
    (folder / INDEX).write_text(json.dumps({"weight_map": dict(zip(names, shards, strict=True))}))
    assert "names 2 files, 1 of them, such as model-00002-of-00002.safetensors, not there" in refusal(folder)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shards[0])}))
    assert load(folder) is not None
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, f"../model/{shards[0]}")}))
    assert "not there" in refusal(folder)
    (folder / INDEX).write_text("{}")
    assert "model.safetensors.index.json is not readable" in refusal(folder)


def test_files_that_are_no_model_are_refused(folder: Path) -> None:
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:5000])
    assert "cannot be loaded" in refusal(folder)
    (folder / "adapter_config.json").write_text("{}")
    assert "an adapter: give the model it was trained from" in refusal(folder)


def test_the_line_names_an_example_of_either_side() -> None:
    with pytest.raises(InputError, match=r"^w: the model expects 2 .* has 1, 1 fit \(expected b, nothing else found\)"):
        check_tensors("w", {"a": (1,), "b": (2,)}, {"a": (1,)})
    with pytest.raises(InputError, match=r"0 fit \(expected a \[1\], found a \[2\]\)"):
        check_tensors("w", {"a": (1,)}, {"a": (2,)})
    with pytest.raises(InputError, match="the file has 2, 1 fit"):
        check_tensors("w", {"a": (1,)}, {"a": (1,)}, 2)
    check_tensors("w", {"a": (1,)}, {"a": (1,)})
