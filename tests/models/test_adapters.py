"""An adapter's file holds exactly the tensors that the model expects, or it is refused in one line."""

import json
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from umed.errors import InputError
from umed.models.adapters import ADAPTER, NOTE, TENSORS, load_adapter, read_note
from umed.models.load import load_policy, save_adapter
from umed.synthetic.tiny_models import backbone_of, write_tiny_of

FAMILIES = ("qwen3_vl",)
LORA = {"r": 4, "lora_alpha": 8}
LAYERS = "model.language_model.layers"
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.fixture(scope="module")
def saved(policy: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A base model, and the folder of an adapter for it as it comes from elsewhere."""
    folder = tmp_path_factory.mktemp("adapter")
    pi = policy(adapter=LORA)
    for name, p in pi.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    save_adapter(pi, folder, {})
    (folder / NOTE).unlink()
    return policy().core, folder


@pytest.fixture
def folder(saved: tuple[Any, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved[1], tmp_path / "adapter"))


def load(saved: tuple[Any, Path], folder: Path) -> Any:
    return load_adapter(deepcopy(saved[0]), folder, "BASE", None)


def refusal(saved: tuple[Any, Path], folder: Path) -> str:
    with pytest.raises(InputError) as error:
        load(saved, folder)
    line = str(error.value)
    assert "\n" not in line and str(folder) in line
    return line


def renamed(old: str, new: str) -> Change:
    return lambda tensors: {name.replace(old, new): tensor for name, tensor in tensors.items()}


def first(tensors: dict[str, Tensor]) -> str:
    return min(tensors)


CHANGES: dict[str, tuple[Change, str]] = {
    "another version's names": (renamed(LAYERS, "model.layers"), "the file has 28, 0 fit"),
    "another family's names": (renamed(LAYERS, "language_model.model.layers"), "the file has 28, 0 fit"),
    "no prefix": (renamed("base_model.model.", ""), "the file has 28, 0 fit"),
    "prefix twice": (renamed("base_model.model.", "base_model.model.base_model.model."), "the file has 28, 0 fit"),
    "one is missing": (lambda t: {n: v for n, v in t.items() if n != first(t)}, "the file has 27, 27 fit"),
    "one too many": (lambda t: {**t, first(t).replace("layers.0", "layers.9"): t[first(t)] + 0}, "has 29, 28 fit"),
    "twice in one place": (lambda t: {**t, first(t).replace(".weight", ".default.weight"): t[first(t)] + 0}, "has 29"),
    "a weight of the base": (lambda t: {**t, f"base_model.model.{LAYERS[:20]}.norm.weight": torch.ones(64)}, "has 29"),
    "a magnitude": (lambda t: {**t, first(t).replace("A.weight", "magnitude_vector"): torch.ones(64)}, "has 29, 28"),
    "another rank": (lambda t: {n: (v[:2] if "_A" in n else v[:, :2]) + 0 for n, v in t.items()}, "has 28, 0 fit"),
    "nothing": (lambda t: {}, "the file has 0, 0 fit"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_any_other_set_of_tensors_is_refused_with_both_counts(saved: Any, folder: Path, name: str) -> None:
    change, told = CHANGES[name]
    save_file(change(load_file(folder / TENSORS)), folder / TENSORS)
    line = refusal(saved, folder)
    assert "does not fit BASE: the model expects 28 tensors" in line and told in line


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"r": 2}, "expects 28 tensors, the file has 28, 0 fit"),
        ({"use_dora": True}, "expects 42 tensors, the file has 28, 28 fit"),
        ({"target_modules": ["q_proj"]}, "expects 4 tensors, the file has 28, 4 fit"),
        ({"modules_to_save": ["merger"]}, "expects 34 tensors, the file has 28, 28 fit"),
        ({"bias": "all"}, "the file has 28, 28 fit"),
        ({"peft_type": "LOHA"}, "this version of peft has no .*lora_alpha.* in LoHaConfig"),
        ({"next_years_option": 3}, "this version of peft has no next_years_option in LoraConfig"),
        ({"target_modules": ["eyes"]}, "the file has 28 tensors, 0 fit, for adapter_config.json"),
        ({"r": "four"}, "the file has 28 tensors, 0 fit, for adapter_config.json"),
        ({"peft_type": "PROMPT_TUNING"}, "this version of peft has no .* in PromptTuningConfig"),
        ({"peft_type": "NONE"}, "adapter_config.json: no adapter of peft"),
    ],
)
def test_a_config_that_asks_for_other_tensors_is_refused(saved: Any, folder: Path, change: dict, told: str) -> None:
    config = json.loads((folder / ADAPTER).read_text())
    (folder / ADAPTER).write_text(json.dumps({**config, **change}))
    assert re.search(told, refusal(saved, folder))


@pytest.mark.parametrize("content", [b"", b"x" * 9, None])
def test_files_that_are_no_adapter_are_refused(saved: Any, folder: Path, content: bytes | None) -> None:
    whole = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(whole[:-9] if content is None else content)
    assert "adapter_model.safetensors: not readable as safetensors" in refusal(saved, folder)
    (folder / TENSORS).rename(folder / "adapter_model.bin")
    assert "adapter_model.bin is a pickle, which is not read" in refusal(saved, folder)
    (folder / TENSORS).write_bytes(whole)
    (folder / ADAPTER).write_bytes(content or b"[]")
    assert "adapter_config.json: no adapter of peft" in refusal(saved, folder)
    (folder / NOTE).write_bytes(b"\xff")
    with pytest.raises(InputError, match="not readable as the note"):
        read_note(folder)


def test_the_adapters_own_name_in_the_file_is_no_difference(saved: Any, folder: Path) -> None:
    tensors = load_file(folder / TENSORS)
    save_file(renamed(".weight", ".default.weight")(tensors), folder / TENSORS)
    state = load(saved, folder).state_dict()
    assert all(torch.equal(state[n.replace(".weight", ".default.weight")], v) for n, v in tensors.items())


def test_names_that_peft_translates_are_read(tmp_path: Path) -> None:
    """LLaVA's layers had other names before transformers 5; its released weights still have them."""
    write_tiny_of("llava")(tmp_path / "base", ["a b c"])
    backbone, processor = "umed.models.backbones.llava", backbone_of("llava").processor_class(str(tmp_path / "base"))
    pi = load_policy(str(tmp_path / "base"), processor, backbone, adapter=LORA)
    save_adapter(pi, tmp_path / "adapter", {})
    file = tmp_path / "adapter" / TENSORS
    tensors = {name: torch.randn_like(v) for name, v in load_file(file).items()}
    older = renamed(LAYERS, "language_model.model.layers")(tensors)
    assert not older.keys() & tensors.keys()
    save_file(older, file)
    again = load_policy(str(tmp_path / "base"), processor, backbone, init_from=str(tmp_path / "adapter"))
    state = again.model.state_dict()
    assert all(torch.equal(state[n.replace(".weight", ".default.weight")], v) for n, v in tensors.items())
