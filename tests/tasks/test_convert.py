"""`task=convert`: a published state dict of random weights becomes a folder that says the same; others one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composed import composed
from disk_examples.benchmarks.pmc_vqa import write_example
from hydra.utils import instantiate
from medvint_original import SIDE, Original, write_llama, write_published
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from umed import tasks
from umed.chat import Prompt
from umed.engine.engine import Engine
from umed.evaluation.likelihood_probe import compare_ids, describe, encode_items
from umed.evaluation.td_compat import last_characters
from umed.models.backbones.medvint import MedVInTFamilyProcessor
from umed.models.load import load_policy
from umed.models.medvint import tokenizer
from umed.models.policy import Policy

SETTINGS = (f"convert.image_size={SIDE}", "convert.decoder_heads=8")
Convert = Callable[..., Path]


@pytest.fixture(scope="module")
def original() -> Original:
    return Original()


@pytest.fixture(scope="module")
def checkpoint(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_published(tmp_path_factory.mktemp("published"), original.published())
    return write_llama(folder)


def convert(checkpoint: Path, run: Path, *overrides: str) -> Path:
    named = f"convert.path={checkpoint}", f"paths.run_dir={run}"
    tasks.run(composed("task=convert", *named, *SETTINGS, *overrides))
    return run / "converted"


@pytest.fixture(scope="module")
def merged(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(checkpoint, tmp_path_factory.mktemp("merged"))


@pytest.fixture(scope="module")
def kept(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(checkpoint, tmp_path_factory.mktemp("kept"), "convert.lora=keep")


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def words(*lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(2)
    return [[1, *rng.integers(3, 300, n).tolist()] for n in lengths]


def place(model: Any, texts: list[list[int]], left: bool) -> dict[str, torch.Tensor]:
    """Inputs with image tokens first, padded on either side."""
    image = [model.config.image_token_id] * model.config.image_tokens
    width = max(map(len, texts))
    rows, mask = [], []
    for text in texts:
        pad = [0] * (width - len(text))
        row, ones = [*image, *text], [1] * (len(image) + len(text))
        rows.append([*pad, *row] if left else [*row, *pad])
        mask.append([*[0] * len(pad), *ones] if left else [*ones, *[0] * len(pad)])
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}


@torch.no_grad()
def test_hidden_states_logits_and_attention_are_those_of_the_published_forward(
    merged: Path, original: Original
) -> None:
    model = AutoModelForImageTextToText.from_pretrained(merged, attn_implementation="eager").eval()
    texts, images = words(9, 9), pictures()
    expected = original(torch.tensor(texts), images)
    out = model(**place(model, texts, False), pixel_values=images, output_hidden_states=True, output_attentions=True)
    assert float(expected.logits.abs().max()) > 1
    assert (out.logits - expected.logits).abs().max() <= 1e-5
    for ours, theirs in zip(out.hidden_states, expected.hidden_states, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5
    for ours, theirs in zip(out.attentions, expected.attentions, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5
    tokens, queries = original.encode(images)
    assert (model.get_image_features(images).pooler_output - tokens).abs().max() <= 1e-5
    assert (out.query_attentions - queries).abs().max() <= 1e-6
    assert (out.query_attentions.sum(-1) - 1).abs().max() <= 1e-6
    labels = torch.tensor([[-100] * 8 + text for text in texts])
    assert float(model(**place(model, texts, False), pixel_values=images, labels=labels).loss) == pytest.approx(
        float(original(torch.tensor(texts), images, labels).loss), abs=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize("left", [True, False])
def test_padding_on_either_side_and_the_cache_change_nothing(merged: Path, original: Original, left: bool) -> None:
    model = AutoModelForImageTextToText.from_pretrained(merged).eval()
    texts, images = words(5, 11), pictures()
    inputs = place(model, texts, left)
    out = model(**inputs, pixel_values=images)
    for row, text in enumerate(texts):
        expected = original(torch.tensor([text]), images[row : row + 1]).logits[0]
        assert (out.logits[row][inputs["attention_mask"][row] == 1] - expected).abs().max() <= 1e-5
        said = original.generate_long_sentence(torch.tensor([text]), images[row : row + 1], 6)
        end = said.index(2) + 1 if 2 in said else 6
        end = min(end, said.index(1) + 1 if 1 in said else 6)
        if left:
            ids = model.generate(**inputs, pixel_values=images, max_new_tokens=6, do_sample=False)
            assert ids[row, inputs["input_ids"].shape[1] :][:end].tolist() == said[:end]


def test_every_tensor_comes_back_exactly(kept: Path, original: Original) -> None:
    """From the new folder to the published layout again, bit for bit, LoRA apart."""
    tensors, adapter = load_file(kept / "model.safetensors"), load_file(kept / "adapter" / "adapter_model.safetensors")
    report = json.loads((kept.parent / "convert.json").read_text())
    published = original.published()
    assert report["keys"].keys() == published.keys() and not report["missing"] and not report["unexpected"]
    used = set()
    for key, value in published.items():
        how, names = report["keys"][key]["how"], report["keys"][key]["to"]
        if how == "adapter":
            factor = key.split("lora_")[1][0]
            name = f"base_model.model.{names[0].removesuffix('.weight')}.lora_{factor}.weight"
            assert torch.equal(adapter[name], value)
        elif how == "left out":
            assert "inv_freq" in key
        else:
            assert torch.equal(
                torch.cat([tensors[name] for name in names]) if how == "split" else tensors[names[0]], value
            )
            used |= set(names)
    assert used == tensors.keys() and len(adapter) == 12


@torch.no_grad()
def test_lora_that_was_merged_is_lora_that_is_applied(merged: Path, kept: Path) -> None:
    family = "umed.models.backbones.medvint"
    one = load_policy(str(merged), MedVInTFamilyProcessor(str(merged)), family).eval()
    two = load_policy(str(kept), MedVInTFamilyProcessor(str(kept)), family, init_from=str(kept)).eval()
    inputs = place(one.core, words(4, 9), True)
    logits = [p.model(**inputs, pixel_values=pictures()).logits for p in (one, two)]
    assert (logits[0] - logits[1]).abs().max() <= 1e-5
    plain = load_policy(str(kept), MedVInTFamilyProcessor(str(kept)), family).eval()
    assert (plain.model(**inputs, pixel_values=pictures()).logits - logits[0]).abs().max() > 0.1
    assert {m.split(".")[-1] for m in two.model.targeted_module_names} == {"q_proj", "v_proj"}


def test_the_processor_puts_image_tokens_before_the_text(merged: Path) -> None:
    from PIL import Image

    processor = AutoProcessor.from_pretrained(merged)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8))
    out = processor(images=[image, image], text=["<image>w1 w2", "w3"], padding_side="right")
    ids = processor.tokenizer.convert_tokens_to_ids(["w1", "w2", "w3"])
    space = processor.tokenizer(" ", add_special_tokens=False)["input_ids"]
    assert out["input_ids"].tolist() == [[300] * 8 + [1, ids[0], *space, ids[1]], [300] * 8 + [1, ids[2], 0, 0]]
    assert out["attention_mask"].tolist() == [[1] * 12, [1] * 10 + [0, 0]]
    resized = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    expected = (resized - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    assert np.abs(out["pixel_values"][0].permute(1, 2, 0).numpy() - expected).max() < 1e-5
    with pytest.raises(ValueError, match="2 pictures for 1 texts"):
        processor(images=[image, image], text="w1")


def test_a_current_state_dict_and_half_the_size(original: Original, tmp_path: Path) -> None:
    """Names of a current peft, and bfloat16."""
    folder = write_llama(write_published(tmp_path / "new", original.state_dict()))
    tensors = load_file(convert(folder, tmp_path / "run", "convert.dtype=bfloat16") / "model.safetensors")
    kinds = {tensor.dtype for tensor in tensors.values()}
    assert kinds == {torch.bfloat16, torch.int64}


# --- what is refused, in one line ---------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], checkpoint: Path, run: Path, *overrides: str) -> str:
    with pytest.raises(SystemExit) as stop:
        convert(checkpoint, run, *overrides)
    assert stop.value.code == 1 and not list(run.glob("converted/*.safetensors"))
    [line] = capsys.readouterr().err.strip().splitlines()
    return line


def without(state: dict[str, torch.Tensor], *prefixes: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


VARIANTS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "TE": (
        lambda s: {f"text_encoder.{n}": t for n, t in s.items()} | {"qformer_query": torch.zeros(32, 768)},
        "MedVInT-TE, which fills masked tokens",
    ),
    "MLP": (lambda s: without(s, "decoder", "query_embed"), "the MLP variant, with one image token"),
    "CLIP": (
        lambda s: without(s, "vision_model") | {"vision_model.vision_model.embeddings.x": torch.zeros(1)},
        "the variant with a CLIP tower, 768 wide with 12 decoder heads",
    ),
    "no LLaMA": (lambda s: without(s, "llamacasual"), "no weights of its language model"),
    "another model": (lambda s: {"a.weight": torch.zeros(2)}, "no tensors of a MedVInT-TD model"),
    "lost": (
        lambda s: without(s, "decoder.layers.1.norm2", "fc_l2.bias"),
        "3 (model.query_decoder.layers.1.norm2.weight, model.query_decoder.layers.1.norm2.bias, "
        "model.multi_modal_projector.linear_2.bias) and does not know none",
    ),
    "left over": (lambda s: s | {"head.weight": torch.zeros(2)}, "lacks none and does not know 1 (head.weight)"),
    "another shape": (
        lambda s: s | {"fc_l1.bias": torch.zeros(3)},
        "lacks 1 (model.multi_modal_projector.linear_1.bias) and does not know 1 "
        "(model.multi_modal_projector.linear_1.bias [3])",
    ),
    "half a LoRA": (
        lambda s: {n: t for n, t in s.items() if "layers.0.self_attn.q_proj.lora_A" not in n},
        "lacks 1 (model.language_model.layers.0.self_attn.q_proj.weight (LoRA A))",
    ),
    "no tensor": (lambda s: s | {"epoch": np.float64(3)}, "does not know 1 (epoch)"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_another_variant_or_a_damaged_state_dict(
    original: Original, tmp_path: Path, capsys: pytest.CaptureFixture[str], variant: str
) -> None:
    change, message = VARIANTS[variant]
    folder = write_llama(write_published(tmp_path / "other", change(original.published())))
    line = refused(capsys, folder, tmp_path / "run")
    assert line.startswith(f"error: convert.path={folder}/pytorch_model.bin: ") and message in line


def test_a_truncated_file_and_one_with_code(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (checkpoint / "pytorch_model.bin").read_bytes()
    for name, content in (("cut", whole[: len(whole) // 2]), ("empty", b""), ("text", b"version https://git-lfs")):
        folder = write_llama(tmp_path / name)
        (folder / "pytorch_model.bin").write_bytes(content)
        assert "not readable as a checkpoint of torch" in refused(capsys, folder, tmp_path / "run")
    folder = write_llama(tmp_path / "code")
    torch.save({"a": print}, folder / "pytorch_model.bin")
    line = refused(capsys, folder, tmp_path / "run")
    assert "holds objects that are no tensors, which are not loaded" in line and "print" in line
    torch.save([1, 2], folder / "pytorch_model.bin")
    assert "holds no state dict" in refused(capsys, folder, tmp_path / "run")


def test_no_checkpoint_and_a_tokenizer_without_special_tokens(
    original: Original, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, tmp_path, tmp_path / "run")
    assert f"convert.path={tmp_path}: no pytorch_model.bin there" in line
    folder = write_llama(write_published(tmp_path / "empty", original.published()), empty=True)
    line = refused(capsys, folder, tmp_path / "run")
    assert f"convert.llama={folder}: its tokenizer has an empty unk_token, bos_token, eos_token" in line
    assert "convert.special_tokens=true" in line
    out = convert(folder, tmp_path / "run", "convert.special_tokens=true")
    assert AutoProcessor.from_pretrained(out).tokenizer.convert_tokens_to_ids(["<s>", "</s>", "<image>"]) == [1, 2, 300]


def test_no_tokenizer_and_one_that_needs_sentencepiece(
    original: Original, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_published(tmp_path / "bare", original.published())
    line = refused(capsys, folder, tmp_path / "run")
    assert f"convert.llama={folder}: no tokenizer there (tokenizer.json or tokenizer.model): give" in line
    (folder / "tokenizer.model").write_bytes(b"\n")
    monkeypatch.setattr(tokenizer, "find_spec", lambda name: None)
    line = refused(capsys, folder, tmp_path / "run")
    assert "tokenizer.model is read with sentencepiece, which is not installed: pip install 'umed[medvint]'" in line
    torch.save({"text_encoder.x": torch.zeros(1)}, folder / "pytorch_model.bin")
    assert "MedVInT-TE" in refused(capsys, folder, tmp_path / "run")  # told first: no tokenizer would help


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("convert.decoder_heads=12", "convert.decoder_heads=12: the decoder is 64 wide"),
        ("convert.text_heads=5", "convert.text_heads=5: the language model is 64 wide"),
        ("convert.image_size=500", "convert: image_size=500 is no multiple of 16"),
        ("convert.prefix_token_id=300", "convert.prefix_token_id=300: the model has tokens 0 to 299"),
        ("convert.lora=drop", "convert.lora=drop: choose merge or keep"),
        ("convert.dtype=int8", "convert.dtype=int8: choose float32 or bfloat16"),
        ("convert.connector=mean", "has a query decoder: set convert.connector=queries"),
        ("convert.lora_alpha=0", "convert.lora_alpha=0: more than 0 is needed"),
    ],
)
def test_settings_that_do_not_fit(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert message in refused(capsys, checkpoint, tmp_path, override)


# --- what the weights do not reveal, and the published way to answer ------------------------------------------------


@pytest.fixture(scope="module")
def asked(merged: Path) -> tuple[Policy, list[Prompt], Path]:
    """The converted policy and its prompts of a PMC-VQA folder in the published wording."""
    processor = MedVInTFamilyProcessor(str(merged))
    policy = load_policy(str(merged), processor, "umed.models.backbones.medvint").eval()
    root = merged.parent / "pmc"
    root.mkdir()
    write_example(root)
    cfg = composed("task=convert", f"convert.path={merged}", f"convert.probe.root={root}", "convert.probe.questions=2")
    prompts, answers = encode_items(processor, instantiate(cfg.convert.probe.protocol), cfg.convert.probe)
    assert [a[:3] for a in answers] == [" B:", " C:"]
    return policy, prompts, root


def test_the_likelihood_of_each_prefix_and_end(asked: tuple[Policy, list[Prompt], Path], original: Original) -> None:
    """Against the published forward pass with that prefix in its place."""
    policy, prompts, _ = asked
    answers = [" B:w7", " A:w9w1"]
    found = compare_ids(Engine(policy), prompts, answers, [0, 1, 5], [1, 2])
    assert [one.prefix for one in found] == [0, 1, 5]
    for one in found:
        answer, end = 0.0, {1: 0.0, 2: 0.0}
        for prompt, text in zip(prompts, answers, strict=True):
            gold = policy.processor.encode(text)
            ids = torch.tensor([[one.prefix, *prompt.inputs["input_ids"][9:].tolist(), *gold]])
            with torch.no_grad():
                logp = original(ids, prompt.inputs["pixel_values"]).logits[0].log_softmax(-1)
            rows = logp[-len(gold) - 1 :]
            answer += float(sum(rows[k, token] for k, token in enumerate(gold))) / len(gold) / 2
            end = {k: v + float(rows[-1, k]) / 2 for k, v in end.items()}
        assert one.answer == pytest.approx(answer, abs=1e-4) and one.ends == pytest.approx(end, abs=1e-4)
    best = max(found, key=lambda one: one.answer)
    assert describe(found)[-1].startswith(f"best: convert.prefix_token_id={best.prefix} convert.eos_token_id=")


def test_the_last_character_is_that_of_the_published_test_script(
    asked: tuple[Policy, list[Prompt], Path], original: Original
) -> None:
    policy, prompts, _ = asked
    tokenizer = policy.processor.tokenizer
    expected = []
    for prompt in prompts:
        with torch.no_grad():
            logits = original(prompt.inputs["input_ids"][None, 8:], prompt.inputs["pixel_values"]).logits
        [text] = tokenizer.batch_decode(logits.argmax(-1), skip_special_tokens=True)
        expected.append(text[-1])
    assert last_characters(Engine(policy), prompts) == expected


def test_the_probe_of_a_command(
    checkpoint: Path, asked: tuple[Policy, list[Prompt], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = asked[2]
    convert(checkpoint, tmp_path, f"convert.probe.root={root}", "convert.probe.dtype=float32", "convert.lora=keep")
    said = capsys.readouterr().out
    assert "prefix 0: log-likelihood -" in said and "best: convert.prefix_token_id=" in said
    report = json.loads((tmp_path / "convert.json").read_text())
    assert [line["prefix"] for line in report["probe"]] == [0, 1] and report["probe"][0]["ends"].keys() == {"1", "2"}


def test_the_end_and_the_prefix_of_a_folder_are_those_of_the_command(checkpoint: Path, tmp_path: Path) -> None:
    out = convert(checkpoint, tmp_path, "convert.prefix_token_id=0", "convert.eos_token_id=2")
    processor = MedVInTFamilyProcessor(str(out))
    assert (processor.prefix_id, processor.eos_ids) == (0, (2,))
    assert AutoProcessor.from_pretrained(out).prefix_token_id == 0
