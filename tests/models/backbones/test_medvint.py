"""MedVInT-TD: queries before the text, a map over patches composed of two attentions, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from umed.boxes import Box
from umed.chat import Prompt
from umed.errors import InputError
from umed.figures import heat_overlay
from umed.models.backbones.medvint import MedVInTFamilyProcessor
from umed.models.backbones.medvint_mlp import MedVInTMlpProcessor
from umed.models.family import FamilyProcessor
from umed.models.feature_store import FeatureStore
from umed.models.policy import Policy
from umed.rewards.vision_relevance import attention_share

FAMILIES = ("medvint",)
Prompts = Callable[..., list[Prompt]]
Policies = Callable[..., Policy]


def score(pi: Policy, prompts: list[Prompt], length: int = 5, **options: object) -> torch.Tensor:
    """Attention of every token of given answers, (B, N, P)."""
    ids = torch.arange(20, 20 + length).expand(len(prompts), -1)
    rows = torch.arange(1, length + 1).expand(len(prompts), -1)
    return pi.score(prompts, ids, torch.ones_like(ids, dtype=torch.bool), rows, **options).attention_BNP


def test_image_tokens_come_before_the_prefix_and_the_published_wording(
    processor: MedVInTFamilyProcessor, make_prompts: Prompts
) -> None:
    prompt = make_prompts(1)[0]
    ids = prompt.inputs["input_ids"].tolist()
    assert ids[:9] == [processor.image_id] * 8 + [1] and processor.image_id == processor.config.text_config.vocab_size
    assert processor.decode(ids[9:]) == f"Question: {prompt.record.query}The Answer is:"
    worded = "Question: where?Choices: A:left B:rightThe Answer is:"
    assert processor.text(worded) == f"<image>{worded}"  # data/protocol=medvint has worded it
    assert prompt.answer[-1] == 1 and processor.eos_ids == (1, 2) and processor.pad_id == 0


def test_prefix_and_end_are_settings(processor: FamilyProcessor, tiny_folder: Path, make_prompts: Prompts) -> None:
    other = type(processor)(str(tiny_folder), prefix_token_id=0, eos_token_id=2)
    prompt = other.prompt(Image.new("RGB", (60, 60)), make_prompts(1)[0].record)
    assert prompt.inputs["input_ids"][8] == 0 and prompt.answer[-1] == 2 and other.eos_ids == (2, 1)
    with pytest.raises(InputError, match="model.processor.prefix_token_id=-1: the model has tokens 0 to"):
        type(processor)(str(tiny_folder), prefix_token_id=-1)


def test_a_saved_model_keeps_the_prefix_and_end_it_was_trained_with(
    processor: FamilyProcessor, tiny_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "whole")
    type(processor)(str(tiny_folder), prefix_token_id=0, eos_token_id=2).save(str(tmp_path / "whole"))
    again = type(processor)(str(tmp_path / "whole"))
    assert (again.prefix_id, again.eos_ids) == (0, (2, 1))
    type(processor)(str(tiny_folder), prefix_token_id=0).save(str(tmp_path / "adapter"))
    assert not (tmp_path / "adapter" / "config.json").exists()


def test_the_view_is_the_squashed_frame(processor: FamilyProcessor) -> None:
    view = processor.encode_picture(Image.new("RGB", (320, 80))).view
    assert (view.tokens, view.patches, view.seen_width, view.seen_height) == (8, 64, 128, 128)
    weights = view.patch_weights([Box(0.25, 0.5, 0.5, 1)]).view(8, 8)
    assert weights[4:, 2:4].eq(1).all() and weights.sum() == 8
    assert view.heat(np.arange(64)).shape == (8, 8)


def test_attention_is_composed_and_keeps_its_sum(policy: Policies, make_prompts: Prompts) -> None:
    """share(t, .) sums to 1 over patches, with and without a shared prefix, gradients and kept features."""
    prompts = make_prompts(2)
    pi = policy(frozen=("vision_tower", "query_decoder", "multi_modal_projector")).eval()
    with torch.no_grad():
        composed = score(pi, prompts)
        again = score(pi, prompts, prefix=pi.read_prompts(prompts))
    assert composed.shape == (2, 5, 64) and torch.allclose(composed, again, atol=1e-6)
    whole = torch.ones(2, 64)
    names = torch.arange(1, 6).expand(2, -1)
    assert attention_share(composed, whole, names).allclose(torch.ones(2), atol=1e-5)
    trained = policy().train()  # the tower too: its attention has a gradient of its own
    attention = score(trained, prompts)
    assert (attention - composed).abs().max() < 1e-6
    attention[:, :, :8].sum().backward()
    assert trained.core.model.query_decoder.layers[0].cross_attn.q_proj.weight.grad.abs().max() > 0
    assert trained.core.model.language_model.layers[0].self_attn.q_proj.weight.grad.abs().max() > 0


def test_where_all_queries_look_at_one_patch_its_share_is_one(
    policy: Policies, make_prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pi = policy(frozen=("vision_tower", "query_decoder", "multi_modal_projector")).eval()
    encode = pi.core.model.get_image_features

    def look_at_one(self: object, pixel_values: torch.Tensor, return_dict: bool = True) -> object:
        out = encode(pixel_values)
        out.query_attentions = torch.zeros_like(out.query_attentions)
        out.query_attentions[..., 19] = 1
        return out

    # nothing else of the pass changes: what the queries carry is in their states
    monkeypatch.setattr(type(pi.core.model), "get_image_features", look_at_one)
    prompts = make_prompts(1, (128, 128))
    with torch.no_grad():
        attention = score(pi, prompts)
    region = prompts[0].view.patch_weights([Box(3 / 8, 2 / 8, 4 / 8, 3 / 8)])
    assert region.nonzero().flatten().tolist() == [19]
    share = attention_share(attention, region[None], torch.arange(1, 6)[None])
    assert float(share) == pytest.approx(1, abs=1e-6)
    overlay = heat_overlay(Image.new("RGB", (128, 128), "gray"), prompts[0].view.heat(attention[0].mean(0).numpy()))
    pixels = np.asarray(overlay).astype(int)
    assert pixels[40, 56].tolist() != [128] * 3 and pixels[100, 100].tolist() == [128] * 3


def test_gradient_checkpointing_and_pools(policy: Policies, make_prompts: Prompts) -> None:
    prompts = make_prompts(2)
    plain = score(policy().eval(), prompts)
    adapted = policy(adapter={"r": 4, "lora_dropout": 0.0}, gradient_checkpointing=True).train()
    assert (score(adapted, prompts, attention_graph=False) - plain).abs().max() < 1e-6
    most = score(policy(attention_pool="max").eval(), prompts)
    assert (most.sum(-1) >= plain.sum(-1)).all()


def test_kept_features_have_the_attention_of_the_queries(
    policy: Policies, make_prompts: Prompts, tmp_path: Path
) -> None:
    """Through memory and files, also where its dtype is not that of the features."""
    frozen = ("vision_tower", "query_decoder", "multi_modal_projector")
    maps = []
    for memory in (64, 0):
        store = FeatureStore(memory_mb=memory, disk_mb=64, folder=tmp_path)
        with torch.no_grad():
            maps.append(score(policy(frozen=frozen, feature_store=store, dtype="bfloat16").eval(), make_prompts(2)))
    assert torch.equal(*maps) and (maps[0].sum(-1) > 0).all() and len(list(tmp_path.iterdir())) == 2
    kept = store.get(next(tmp_path.glob("*.safetensors")).stem)
    assert kept.queries.dtype == torch.float32 and kept.tokens.dtype == torch.bfloat16


def test_batch_statistics_are_never_used(policy: Policies, make_prompts: Prompts) -> None:
    """A picture's features in training are those of sampling, whatever picture is beside it; statistics stay."""
    model = policy().train().core.model
    pixels = torch.cat([p.inputs["pixel_values"] for p in make_prompts(2)])
    before = {n: b.clone() for n, b in model.vision_tower.named_buffers()}
    both, one = model.get_image_features(pixels), model.eval().get_image_features(pixels[:1])
    assert (both.pooler_output[:1] - one.pooler_output).abs().max() < 2e-5
    assert all(torch.equal(b, before[n]) for n, b in model.vision_tower.named_buffers())


def edit(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_folders_that_are_none(tiny_folder: Path, tmp_path: Path) -> None:
    """The MLP variant, another picture size, empty special tokens, the published layout."""

    def refused(number: int, kind: type[FamilyProcessor] = MedVInTFamilyProcessor, **files: dict[str, object]) -> str:
        folder = tmp_path / str(number)
        shutil.copytree(tiny_folder, folder)
        for name, values in files.items():
            edit(folder, f"{name}.json", **values)
        with pytest.raises(InputError) as error:
            kind(str(folder))
        assert "\n" not in str(error.value) and str(folder) in str(error.value)
        return str(error.value)

    assert "has connector=mean: choose model=medvint_td_mlp" in refused(0, config={"connector": "mean"})
    assert "has connector=queries: choose model=medvint_td" in refused(1, MedVInTMlpProcessor)
    assert "its config asks for 64 x 64" in refused(2, config={"image_size": 64})
    empty = refused(3, tokenizer_config={"unk_token": "", "bos_token": ""})
    assert "its tokenizer has an empty unk_token, bos_token: in tokenizer_config.json set unk_token to <unk>" in empty
    assert "does not divide" in refused(4, config={"decoder_heads": 12})
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pytorch_model.bin").touch()
    with pytest.raises(InputError, match="task=convert convert.path=.*old, and give the folder RUN/converted"):
        MedVInTFamilyProcessor(str(tmp_path / "old"))


def test_weights_without_llama_or_of_another_shape(tiny_folder: Path, tmp_path: Path, policy: Policies) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_folder, tmp_path / "part")
    path = tmp_path / "part" / "model.safetensors"
    tensors = load_file(path)
    save_file({n: t for n, t in tensors.items() if "language_model" not in n}, path, {"format": "pt"})
    with pytest.raises(InputError, match=r"the model expects \d+ tensors, the file has \d+.*language_model") as error:
        policy(tmp_path / "part")
    assert "\n" not in str(error.value)
