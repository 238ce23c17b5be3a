"""A policy from a folder: adapters, what they fit, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from composed import composed
from conftest import make_record
from omegaconf import open_dict
from PIL import Image

from umed.chat import Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.feature_store import FeatureStore
from umed.models.load import build_policy, load_policy, save_adapter
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.synthetic.tiny_models.qwen3_vl import build

FAMILIES = ("qwen3_vl",)

LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "lora_dropout": 0.1}
IDS, MASK = torch.tensor([[11, 12, 13]]), torch.ones(1, 3, dtype=torch.bool)


@pytest.fixture
def trained(tiny_folder: Path, processor: FamilyProcessor, backbone: str, tmp_path: Path) -> tuple[Policy, Path]:
    """A policy whose adapter and value head are not at their start, and its saved folder."""
    pi = load_policy(str(tiny_folder), processor, backbone, adapter=LORA).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for p in pi.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p), alpha=0.1)
    save_adapter(pi, tmp_path / "run" / "adapter", {"stage": "sft"})
    return pi, tmp_path / "run"


def test_only_the_adapter_and_the_head_are_trained(
    tiny_folder: Path, processor: FamilyProcessor, backbone: str
) -> None:
    pi = load_policy(str(tiny_folder), processor, backbone, adapter=LORA)
    trained = [n for n, p in pi.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in n or n.startswith("critic.head.") for n in trained)
    names = [n for n, _ in pi.named_parameters()]
    assert len(names) == len(set(names)) and not any("reader" in n for n in names)


def test_without_adapter_every_weight_is_trained(tiny_folder: Path, processor: FamilyProcessor, backbone: str) -> None:
    assert all(p.requires_grad for p in load_policy(str(tiny_folder), processor, backbone).parameters())


@pytest.mark.parametrize("inside", ["", "adapter"])
def test_a_saved_adapter_comes_back_with_its_value_head(
    trained: tuple[Policy, Path],
    tiny_folder: Path,
    processor: FamilyProcessor,
    backbone: str,
    make_prompts: Callable[..., list[Prompt]],
    inside: str,
) -> None:
    pi, run = trained
    again = load_policy(str(tiny_folder), processor, backbone, init_from=str(run / inside)).eval()
    prompts = make_prompts(1)
    one, two = (p.score(prompts, IDS, MASK) for p in (pi, again))
    torch.testing.assert_close(one.logp_BT, two.logp_BT, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.values_BT, two.values_BT, atol=1e-6, rtol=0)
    assert (one.values_BT != 0).all()
    base = load_policy(str(tiny_folder), processor, backbone).eval().score(prompts, IDS, MASK)
    assert (base.logp_BT - one.logp_BT).abs().max() > 0.01
    assert any(p.requires_grad for p in again.model.parameters())
    assert json.loads((run / "adapter" / "umed.json").read_text())["stage"] == "sft"


def test_the_folder_carries_the_pixel_budget(
    tiny_folder: Path, processor: FamilyProcessor, backbone: str, tmp_path: Path
) -> None:
    small = type(processor)(str(tiny_folder), max_pixels=56 * 56)
    save_adapter(load_policy(str(tiny_folder), small, backbone, adapter=LORA), tmp_path / "adapter", {})
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    assert Qwen2VLImageProcessorPil.from_pretrained(tmp_path / "adapter").size["longest_edge"] == 56 * 56


@pytest.mark.parametrize("dropout", [None, 0.0])
def test_dropout_of_the_adapter_is_the_stored_one_or_the_one_asked_for(
    trained: tuple[Policy, Path], tiny_folder: Path, processor: FamilyProcessor, backbone: str, dropout: float | None
) -> None:
    for start in ({"init_from": str(trained[1])}, {"adapter": LORA}):
        pi = load_policy(str(tiny_folder), processor, backbone, dropout=dropout, **start)
        rates = {m.p for m in pi.modules() if isinstance(m, torch.nn.Dropout)}
        assert max(rates, default=0.0) == (0.1 if dropout is None else 0.0)


def test_an_adapter_of_another_model_is_refused(
    trained: tuple[Policy, Path], processor: FamilyProcessor, backbone: str, tmp_path: Path
) -> None:
    build(tmp_path / "other", ["another corpus"], hidden=64, layers=1, vision_layers=2)
    with pytest.raises(InputError, match=r"another model.*num_hidden_layers 2 there, 1 here"):
        load_policy(str(tmp_path / "other"), processor, backbone, init_from=str(trained[1]))


def test_a_folder_without_adapter_is_refused(
    tiny_folder: Path, processor: FamilyProcessor, backbone: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"init_from=.*no adapter_config.json"):
        load_policy(str(tiny_folder), processor, backbone, init_from=str(tmp_path))


def test_a_folder_without_model_is_refused(processor: FamilyProcessor, backbone: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.path="):
        load_policy(str(tmp_path), processor, backbone)
    with pytest.raises(InputError, match=r"model.path="):
        type(processor)(str(tmp_path))


def test_the_seed_decides_a_fresh_adapter(tiny_folder: Path, processor: FamilyProcessor, backbone: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        pi = load_policy(str(tiny_folder), processor, backbone, adapter=LORA, seed=seed)
        return next(p for n, p in pi.named_parameters() if "lora_A" in n)

    assert torch.equal(weights(3), weights(3)) and not torch.equal(weights(3), weights(4))


def test_gradient_checkpointing_is_at_work_in_a_loaded_policy(
    tiny_folder: Path,
    processor: FamilyProcessor,
    backbone: str,
    make_prompts: Callable[..., list[Prompt]],
) -> None:
    """transformers checkpoints a layer in train mode only, loads models in eval mode, and Lightning keeps the mode."""
    pi = load_policy(str(tiny_folder), processor, backbone, adapter=LORA, gradient_checkpointing=True)
    layer, reads = pi.core.model.language_model.layers[0].mlp, []
    layer.register_forward_pre_hook(lambda *args: reads.append(1))
    pi.score(make_prompts(1), IDS, MASK).logp_BT.sum().backward()
    assert len(reads) == 2  # once forward, once again for the backward pass


def test_frozen_modules_stay_fixed_and_unknown_ones_are_refused(policy: Callable[..., Policy]) -> None:
    pi = policy(frozen=["visual.blocks"])
    kept = {n for n, p in pi.named_parameters() if not p.requires_grad}
    assert kept and all(".visual.blocks." in n for n in kept)
    assert any(".visual.merger." in n for n, p in pi.named_parameters() if p.requires_grad)
    with pytest.raises(InputError, match="model.frozen: no module or weight is called eyes"):
        policy(frozen=["eyes"])


def test_every_weight_trained_comes_back_as_a_model(
    tiny_folder: Path, processor: FamilyProcessor, backbone: str, make_prompts: Callable[..., list[Prompt]],
    tmp_path: Path,
) -> None:  # fmt: skip
    pi = load_policy(str(tiny_folder), processor, backbone).eval()
    with torch.no_grad():
        for p in pi.model.parameters():
            p.mul_(1.1)
    save_adapter(pi, tmp_path / "run" / "adapter", {"stage": "sft"})
    again = load_policy(str(tiny_folder), processor, backbone, adapter=LORA, init_from=str(tmp_path / "run")).eval()
    prompts = make_prompts(1)
    assert torch.equal(pi.score(prompts, IDS, MASK).logp_BT, again.score(prompts, IDS, MASK).logp_BT)
    assert all(p.requires_grad for p in again.model.parameters())
    build(tmp_path / "other", ["other words"], hidden=64, layers=1, vision_layers=2)
    other = type(processor)(str(tmp_path / "other"))
    with pytest.raises(InputError, match="another one than"):
        load_policy(str(tmp_path / "other"), other, backbone, init_from=str(tmp_path / "run"))


def test_an_adapter_for_other_weights_of_the_same_shape_is_refused(
    trained: tuple[Policy, Path], tiny_folder: Path, processor: FamilyProcessor, backbone: str, tmp_path: Path
) -> None:
    other = load_policy(str(tiny_folder), processor, backbone)
    with torch.no_grad():
        other.core.get_input_embeddings().weight.mul_(2)
    other.core.save_pretrained(tmp_path / "other")
    processor.save(str(tmp_path / "other"))
    with pytest.raises(InputError, match=r"another model.*weights"):
        load_policy(str(tmp_path / "other"), processor, backbone, init_from=str(trained[1]))


def test_half_a_note_is_refused(
    trained: tuple[Policy, Path], tiny_folder: Path, processor: FamilyProcessor, backbone: str
) -> None:
    note = trained[1] / "adapter" / "umed.json"
    note.write_text(note.read_text()[:20])
    with pytest.raises(InputError, match=r"umed\.json"):
        load_policy(str(tiny_folder), processor, backbone, init_from=str(trained[1]))


def test_an_adapter_that_cannot_fit_is_refused_without_a_note(
    trained: tuple[Policy, Path], processor: FamilyProcessor, family: str, backbone: str, tmp_path: Path
) -> None:
    (trained[1] / "adapter" / "umed.json").unlink()
    build(tmp_path / "wide", ["a"], hidden=128, layers=1, vision_layers=2)
    with pytest.raises(InputError, match="does not fit"):
        load_policy(str(tmp_path / "wide"), processor, backbone, init_from=str(trained[1]))


def test_attention_layers_that_are_not_there_are_refused(
    tiny_folder: Path, processor: FamilyProcessor, backbone: str
) -> None:
    with pytest.raises(InputError, match=r"layers=\[9\].*attention are 0, 1"):
        load_policy(str(tiny_folder), processor, backbone, attention_layers=[0, 9])


def test_quantized_weights_need_an_adapter_and_a_package(
    tiny_folder: Path, processor: FamilyProcessor, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="model.quantization=4bit needs an adapter"):
        load_policy(str(tiny_folder), processor, backbone, quantization="4bit")
    with pytest.raises(InputError, match="model.quantization=8bit"):
        load_policy(str(tiny_folder), processor, backbone, adapter=LORA, quantization="8bit")
    monkeypatch.setattr("umed.models.load.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs bitsandbytes: pip install 'umed\[qlora\]'"):
        load_policy(str(tiny_folder), processor, backbone, adapter=LORA, quantization="4bit")


@pytest.mark.filterwarnings("default")
def test_an_adapter_is_trained_on_four_bits(
    tiny_folder: Path, processor: FamilyProcessor, backbone: str, make_prompts: Callable[..., list[Prompt]]
) -> None:
    pytest.importorskip("bitsandbytes", reason="pip install 'umed[qlora]'")
    if backbone.endswith("qwen2_5_vl"):
        pytest.skip("its projections have a bias, which bitsandbytes on CPU adds in place: no gradient")
    pi = load_policy(str(tiny_folder), processor, backbone, adapter={**LORA, "lora_dropout": 0.0}, quantization="4bit")
    text, tower = pi.core.get_decoder(), getattr(pi.core.model, pi.backbone.tower[0])
    assert {p.dtype for n, p in text.layers[0].mlp.named_parameters() if "base_layer" in n} == {torch.uint8}
    assert {p.dtype for p in tower.parameters()} == {torch.float32}
    prompts = make_prompts(2)
    answers = pi.sample(prompts, 2, 6, noise=Noise(0))
    said = pi.score(prompts, answers.ids_BT, answers.mask_BT)
    torch.testing.assert_close(said.logp_BT[answers.mask_BT], answers.logp_BT[answers.mask_BT], atol=1e-5, rtol=0)
    said.logp_BT.sum().backward()
    assert all("lora_" in n for n, p in pi.model.named_parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"attention_layers": []}, "model.attention.layers"),
        ({"attention_layers": [0, 0]}, "model.attention.layers"),
        ({"attention_heads": []}, "model.attention.heads"),
        ({"attention_heads": [99]}, "model.attention.heads"),
        ({"temperature": 0.0}, "model.temperature"),
        ({"temperature": -1.0}, "model.temperature"),
        ({"dtype": "float8"}, "model.dtype"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(
    tiny_folder: Path, processor: FamilyProcessor, backbone: str, option: dict, told: str
) -> None:
    with pytest.raises(InputError, match=told) as error:
        load_policy(str(tiny_folder), processor, backbone, **option)
    assert "\n" not in str(error.value)


def test_stages_share_features_within_bounds_that_the_config_sets(tmp_path: Path) -> None:
    """Two policies of one configuration, as stages build them; a configuration that knows no engine keeps nothing."""
    cfg = composed(
        "model=tiny", f"engine.features.folder={tmp_path}", "engine.features.disk_mb=8", "engine.merge=false"
    )
    sft, aar = build_policy(cfg, None), build_policy(cfg, None, 0.0)
    assert sft.reader.feature_store is aar.reader.feature_store and aar.merge == "false"
    record = make_record(0, 64, 64)
    passes: list[int] = []
    for pi in (sft, aar):
        pi.core.model.visual.register_forward_hook(lambda *_: passes.append(1))
        scores = pi.score([pi.processor.prompt(Image.new("RGB", (64, 64)), record)], IDS, MASK)
        assert scores.logp_BT.isfinite().all()
    assert len(passes) == 1 and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(InputError, match=r"engine\.features\.memory_mb=-1: at least 0 is needed"):
        build_policy(composed("engine.features.memory_mb=-1"), None)
    with open_dict(cfg):
        del cfg.engine
    assert build_policy(cfg, None).reader.feature_store is None


def test_a_trained_tower_fills_no_store(tiny_folder: Path, processor: FamilyProcessor, backbone: str) -> None:
    store = FeatureStore()
    prompts = [processor.prompt(Image.new("RGB", (56, 56)), make_record(0, 56, 56))]
    for options, kept in (({}, 0), ({"adapter": LORA}, 0), ({"frozen": ["visual"]}, 1)):
        load_policy(str(tiny_folder), processor, backbone, feature_store=store, **options).score(prompts, IDS, MASK)
        assert len(store._memory) == kept
