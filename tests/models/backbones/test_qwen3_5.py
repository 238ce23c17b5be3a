"""Qwen3.5: Qwen3-VL's pictures and boxes; layers of linear attention, whose states padding must not enter."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from umed.chat import Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.policy import Policy
from umed.synthetic.parity.geometry import uncovered
from umed.synthetic.parity.tiny_model import plain_inputs

FAMILIES = ("qwen3_5",)
Make = Callable[..., Policy]
Prompts = Callable[..., list[Prompt]]

# height x width -> resized height x width, token rows x columns; patches of 16 px, 65,536 to 16,777,216 pixels
VECTORS = [
    ((512, 512), (512, 512), (16, 16)),
    ((320, 391), (320, 384), (10, 12)),
    ((576, 720), (576, 704), (18, 22)),
    ((1072, 1920), (1088, 1920), (34, 60)),
]


def test_view_and_tokens_of_known_sizes(processor: FamilyProcessor, tiny_folder: Path, tmp_path: Path) -> None:
    AutoConfig.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    Qwen2VLImageProcessorPil(patch_size=16, min_pixels=65_536, max_pixels=16_777_216).save_pretrained(tmp_path)
    released = type(processor)(str(tmp_path))
    for size, seen, (rows, columns) in VECTORS:
        picture = released.encode_picture(Image.new("RGB", size[::-1]))
        assert (picture.view.seen_height, picture.view.seen_width) == seen
        assert [(g.rows, g.columns) for g in picture.view.grids] == [(rows, columns)]
        assert picture.text == "<|image_pad|>" * rows * columns
        assert uncovered(picture.view) == 0


CLOSED, OPENED = "<think>\n\n</think>\n\n", "<think>\n"


@pytest.mark.parametrize(("told", "then", "otherwise"), [("true", OPENED, CLOSED), ("false", CLOSED, OPENED)])
def test_an_answer_begins_behind_the_thought(
    processor: FamilyProcessor, tiny_folder: Path, tmp_path: Path, told: str, then: str, otherwise: str
) -> None:
    """The small checkpoints think when told to, the larger ones unless told not to."""
    shutil.copytree(tiny_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").write_text(
        "<|image_pad|>{{ messages[0].content[1].text }}\n"
        f"{{% if enable_thinking is defined and enable_thinking is {told} %}}{then}{{% else %}}{otherwise}{{% endif %}}"
    )
    assert type(processor)(str(tmp_path)).text("Where ?") == f"<|image_pad|>Where ?\n{CLOSED}"


def test_only_full_attention_has_maps(policy: Make) -> None:
    kinds = policy().core.config.get_text_config().layer_types
    assert kinds == ["linear_attention", "full_attention"]
    assert len(policy()._attention_modules) == len(policy(attention_layers=[1])._attention_modules) == 1
    with pytest.raises(InputError, match=r"model.attention.layers=\[0\]: the layers with attention are 1") as error:
        policy(attention_layers=[0])
    assert "\n" not in str(error.value)


def test_an_adapter_reaches_both_kinds_of_layers_and_no_picture(policy: Make) -> None:
    names = {n for n, p in policy(adapter={"r": 2}).model.named_parameters() if p.requires_grad}
    reached = {n.split(".lora_")[0].split("layers.")[1] for n in names}
    linear = {f"0.linear_attn.{name}" for name in ("in_proj_qkv", "in_proj_z", "out_proj")}
    full = {f"1.self_attn.{name}_proj" for name in "qkvo"}
    mlp = {f"{layer}.mlp.{name}_proj" for layer in "01" for name in ("gate", "up", "down")}
    assert reached == linear | full | mlp and not any("visual" in n for n in names)


def test_the_gradient_is_that_of_plain_transformers(policy: Make, make_prompts: Prompts, tiny_folder: Path) -> None:
    """Through the states of the prompt too, of a left-padded batch."""
    pi, prompts = policy(), make_prompts(2)
    answer = [60, 61, 62, 63]
    ids, mask = torch.tensor([answer] * 2), torch.ones(2, 4, dtype=torch.bool)
    assert len({len(p.inputs["input_ids"]) for p in prompts}) == 2
    pi.score(prompts, ids, mask).logp_BT.sum().backward()
    plain: Any = AutoModelForImageTextToText.from_pretrained(tiny_folder, attn_implementation="eager")
    for prompt in prompts:  # one at a time, without padding
        logits = plain(**plain_inputs(pi.backbone, prompt, answer)).logits[0, -5:-1]
        logits[:, list(pi.processor.suppressed_ids)] = torch.finfo(torch.float32).min
        logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).sum().backward()
    theirs = {n: p.grad for n, p in plain.named_parameters()}
    for name, p in pi.core.named_parameters():
        if theirs[name] is not None:
            torch.testing.assert_close(p.grad, theirs[name], atol=1e-4, rtol=1e-4, msg=name)
    assert theirs["model.language_model.layers.0.linear_attn.conv1d.weight"].abs().sum() > 0


@pytest.mark.parametrize("mistake", ["padding", "types", "states"])
def test_the_tiny_model_shows_a_mistake(
    policy: Make, make_prompts: Prompts, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    """Padding that enters the states, pictures without places of their own, an answer that goes on from another's."""
    pi, prompts = policy(), make_prompts(2)
    right = pi.sample(prompts, 1, 4, greedy=True).logp_BT
    if mistake == "states":
        reader = pi.reader
        read = reader.read_prompts

        def swapped(*args: Any) -> Any:
            prefix = read(*args)
            states = prefix.cache.layers[0]
            states.reorder_cache(torch.tensor([1, 0]))
            return prefix

        monkeypatch.setattr(reader, "read_prompts", swapped)
    else:
        name, value = {"padding": ("attention_mask", 1), "types": ("mm_token_type_ids", 0)}[mistake]
        collate = pi.processor.collate
        monkeypatch.setattr(
            pi.processor, "collate", lambda p: {**(b := collate(p)), name: torch.full_like(b[name], value)}
        )
    wrong = pi.sample(prompts, 1, 4, greedy=True).logp_BT
    assert float((right - wrong)[:, 0].abs().max()) > 1e-3
