"""PaliGemma: one square, the prompt of transformers' own processor, a prefix that sees itself, location tokens."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from umed.boxes import Box, iou_union
from umed.chat import Prompt
from umed.errors import InputError
from umed.models.attention import AttentionRecorder, sdpa_with_evidence
from umed.models.backbones import paligemma
from umed.models.backbones.loc_codec import TOKENS
from umed.models.family import FamilyProcessor
from umed.models.load import load_policy
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.synthetic.tiny_models.paligemma import write

FAMILIES = ("paligemma",)
BACKBONE = "umed.models.backbones.paligemma"


def resized(tiny_folder: Path, target: Path, picture: int) -> Path:
    """The tiny model's folder for pictures of another size; no weights."""
    config = AutoConfig.from_pretrained(tiny_folder)
    config.vision_config.image_size, config.text_config.max_position_embeddings = picture, 8192
    config.text_config.sliding_window = 4096
    shutil.copytree(tiny_folder, target)
    config.save_pretrained(target)
    SiglipImageProcessorPil(size={"height": picture, "width": picture}).save_pretrained(target)
    return target


@pytest.mark.parametrize(("picture", "side"), [(224, 16), (448, 32), (896, 64)])
def test_each_released_size_is_one_grid(
    processor: FamilyProcessor, tiny_folder: Path, tmp_path: Path, picture: int, side: int
) -> None:
    taker = type(processor)(str(resized(tiny_folder, tmp_path / "released", picture)))
    encoded = taker.encode_picture(Image.new("RGB", (391, 320)))
    assert (encoded.view.seen_width, encoded.view.seen_height) == (picture, picture)
    assert encoded.inputs["pixel_values"].shape == (1, 3, picture, picture)
    (grid,) = encoded.view.grids
    assert (grid.rows, grid.columns) == (side, side)
    assert encoded.text == "<image>" * side**2
    assert float(encoded.view.patch_weights([Box(0, 0, 1, 1)]).sum()) == pytest.approx(side**2)


def test_an_answer_keeps_its_location_tokens(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    prompt = make_prompts(2, boxes=2)[1]
    ids = prompt.answer.tolist()
    text = processor.decode(ids)
    first, second = "<loc0256><loc0256><loc0512><loc0767>", "<loc0614><loc0102><loc0921><loc0409>"
    assert text == f"A cyst is seen at {first} ; {second}."
    assert "".join(processor.pieces(ids)) == text
    assert iou_union(processor.read_boxes(text, prompt.view) or [], prompt.record.boxes) > 0.98
    assert processor.plain(text) == prompt.gold == "A cyst is seen at."
    assert processor.tokenizer.tokenize(TOKENS[7] + TOKENS[1023]) == [TOKENS[7], TOKENS[1023]]
    assert processor.decode(processor.tokenizer.convert_tokens_to_ids(["<eos>", "<pad>", "<bos>", "<image>"])) == ""
    assert [processor.tokenizer.decode([i]) for i in processor.suppressed_ids] == ["<image>"]


def test_a_too_long_prompt_is_refused_with_one_line(
    tiny_folder: Path, processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    record = make_prompts(1)[0].record
    short = type(processor)(str(tiny_folder), max_prompt_tokens=20)
    with pytest.raises(InputError, match="16 of them the picture's; .* smaller pictures than 56 px") as error:
        short.prompt(Image.new("RGB", (900, 900)), record)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("window", "fits"), [(22, False), (23, False), (24, True)])
def test_a_prompt_must_fit_into_the_window_of_sliding_layers(
    tiny_folder: Path, tmp_path: Path, make_prompts: Callable[..., list[Prompt]], window: int, fits: bool
) -> None:
    """A prompt of 23 tokens: its last one sees 23 with itself."""
    config = json.loads((tiny_folder / "config.json").read_text())
    config["text_config"]["sliding_window"] = window
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    folder.joinpath("config.json").write_text(json.dumps(config))
    processor, prompt = paligemma.PaliGemmaProcessor(str(folder)), make_prompts(1)[0]
    assert len(prompt.inputs["input_ids"]) == 23
    if not fits:
        with pytest.raises(InputError, match=rf"the prompt has 23 tokens.* allowed are {window - 1} "):
            processor.prompt(Image.new("RGB", (56, 56)), prompt.record)
        return
    assert worst(load_policy(str(folder), processor, BACKBONE), [prompt], 12) < 1e-5  # the answer slides


def worst(policy: Policy, prompts: list[Prompt], tokens: int) -> float:
    """Largest difference of sampled, scored and plain log-probs, two answers to a query."""
    answers = policy.sample(prompts, 2, tokens, noise=Noise(0))
    plain = AutoModelForImageTextToText.from_pretrained(policy.core.name_or_path, attn_implementation="eager").eval()
    with torch.no_grad():
        found = [policy.score(prompts, answers.ids_BT, answers.mask_BT).logp_BT[answers.mask_BT]]
    rows = []
    for b, (ids, mask) in enumerate(zip(answers.ids_BT, answers.mask_BT, strict=True)):
        prompt, said = prompts[b // 2].inputs, ids[mask]
        with torch.no_grad():
            logits = plain(
                input_ids=torch.cat([prompt["input_ids"], said])[None],
                token_type_ids=torch.cat([torch.zeros_like(prompt["input_ids"]), torch.ones_like(said)])[None],
                pixel_values=prompt["pixel_values"],
            ).logits[0, -len(said) - 1 : -1]
        logits[:, list(policy.processor.suppressed_ids)] = -torch.inf
        rows.append(logits.log_softmax(-1).gather(1, said[:, None])[:, 0])
    found.append(torch.cat(rows))
    return max(float((f - answers.logp_BT[answers.mask_BT]).abs().max()) for f in found)


def test_paligemma_1_has_another_language_model(tmp_path: Path, make_prompts: Callable[..., list[Prompt]]) -> None:
    """Neither capped nor sliding; the prompts' ids are those of the other tiny model."""
    queries = [p.record.query for p in make_prompts(4)]
    write(tmp_path, [*queries, "A stone is seen at ."], model_type="gemma")
    processor = paligemma.PaliGemmaProcessor(str(tmp_path))
    sizes = ((56, 56), (140, 112))
    prompts = [
        processor.prompt(Image.new("RGB", s, (90, 200, 20)), make_prompts(2)[i].record) for i, s in enumerate(sizes)
    ]
    policy = load_policy(str(tmp_path), processor, BACKBONE)
    assert policy.core.config.text_config.model_type == "gemma"
    assert worst(policy, prompts, 6) < 1e-5


def test_a_later_prompt_token_moves_an_earlier_one(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    """The first image token's keys of the second layer know the query's last word."""
    pi, prompts = policy(), make_prompts(2, (56, 56))
    prompts[1].inputs["input_ids"][-2] = prompts[0].inputs["input_ids"][-2]
    alone = [pi.reader.read_prompts([p], 1).cache.layers[1].keys[0, :, 0] for p in prompts]
    assert (alone[0] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize("masked", [False, True])
def test_capped_scores_against_plain_numpy(masked: bool) -> None:
    """softmax(c tanh(q k / (c sqrt(d)))) v with two queries a key head, and the recorded rows of it."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(0, 3, (2, heads, 5, 8)).astype(np.float32) for heads in (4, 2, 2))
    seen = np.tril(np.ones((2, 1, 5, 5), dtype=bool))
    if masked:
        seen[1, :, :, 0] = False
        seen[1, :, 0, 0] = True  # a padding row may not be empty
    scores = 1.5 * np.tanh(q @ k.repeat(2, 1).swapaxes(2, 3) / np.sqrt(8) / 1.5)
    share = np.exp(scores) * seen
    share /= share.sum(-1, keepdims=True)
    module = nn.Module()
    module.num_key_value_groups, module.is_causal, module.head_dim = 2, True, 8
    rows, columns = torch.tensor([[4, 2], [3, -1]]), torch.tensor([[0, 1], [1, 2]])
    recorder = AttentionRecorder(rows, [module])
    with recorder.record(columns):
        mask = torch.from_numpy(seen) if masked else None
        out, _ = sdpa_with_evidence(module, *map(torch.from_numpy, (q, k, v)), mask, scaling=8**-0.5, softcap=1.5)
    np.testing.assert_allclose(out.numpy(), (share @ v.repeat(2, 1)).swapaxes(1, 2), atol=1e-5)
    mean = share.mean(1)
    expected = [[mean[0, 4, [0, 1]], mean[0, 2, [0, 1]]], [mean[1, 3, [1, 2]], [0, 0]]]
    np.testing.assert_allclose(recorder.pooled().numpy(), expected, atol=1e-6)
