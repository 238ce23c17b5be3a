"""`task=merge`: plain transformers says the same; the hub gets the folder, or one line says why not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from transformers import AutoModelForImageTextToText, AutoTokenizer

from umed.chat import Prompt
from umed.errors import InputError
from umed.models import hub
from umed.models.load import save_adapter
from umed.models.policy import Policy
from umed.tasks import merge as task


@pytest.fixture
def tuned(policy: Callable[..., Policy], tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A policy with an adapter that changes much, its folder, and the config of a merge."""
    pi = policy(adapter={"r": 4, "init_lora_weights": False}).eval()
    save_adapter(pi, tmp_path / "run" / "adapter", {"stage": "aar", "method": "AbnormalAwareRewarding", "seed": 3})
    (tmp_path / "run" / "metrics.json").write_text(
        '{"aar/mau/iou/phantom_kvasir": 0.25, "aar/mau/iou/avg": 0.25, "sft/mau/iou/avg": 0.1}'
    )
    monkeypatch.setattr(task, "build_policy", lambda cfg, init, dropout: policy(init_from=init, dropout=dropout))
    cfg = {
        "init_from": str(tmp_path / "run"),
        "paths": {"run_dir": str(tmp_path / "out")},
        "model": {"path": str(tiny_folder)},
        "task": {"push_to": None, "private": True},
    }
    return pi, OmegaConf.create(cfg), tmp_path / "out" / "merged"


def test_plain_transformers_says_the_same(tuned, make_prompts: Callable[..., list[Prompt]]) -> None:
    pi, cfg, out = tuned
    task.merge(cfg)
    prompt = make_prompts(1)[0]
    answers = pi.sample([prompt], 1, 8, greedy=True)
    model = AutoModelForImageTextToText.from_pretrained(out).eval()
    assert not any("lora" in n for n, _ in model.named_parameters())
    row = ("input_ids", "attention_mask", "mm_token_type_ids")
    inputs = {k: v[None] if k in row else v for k, v in prompt.inputs.items()}
    ids = model.generate(**inputs, max_new_tokens=8, do_sample=False, suppress_tokens=list(pi.processor.suppressed_ids))
    said = AutoTokenizer.from_pretrained(out).decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said == pi.processor.decode(answers.ids_BT[0][answers.mask_BT[0]].tolist())
    before = pi.core.get_input_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight, before)


def test_the_card_says_what_it_is(tuned) -> None:
    _, cfg, out = tuned
    task.merge(cfg)
    card = (out / "README.md").read_text()
    assert card.startswith("---\n") and "Not a medical device" in card and "SYNTHETIC" in card
    assert "| iou/avg | 0.250 |" in card and "0.100" not in card and "seed 3" in card
    assert str(cfg.model.path) not in card  # no path of this machine


def test_the_hub_gets_the_folder(tuned, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cfg, out = tuned
    calls = []

    class Hub:
        def create_repo(self, repo, private, exist_ok):
            calls.append((repo, private))

        def upload_folder(self, folder_path, repo_id):
            calls.append((str(folder_path), repo_id))

    monkeypatch.setattr(hub, "HfApi", Hub)
    cfg.task.push_to = "me/tuned"
    task.merge(cfg)
    assert calls == [("me/tuned", True), (str(out), "me/tuned")]


def test_without_a_hub_the_folder_stays(tuned) -> None:
    _, cfg, out = tuned
    cfg.task.push_to = "me/tuned"
    with pytest.raises(InputError, match="task.push_to=me/tuned: the hub does not take it") as error:
        task.merge(cfg)
    assert "\n" not in str(error.value) and (out / "model.safetensors").is_file()


def test_nothing_to_merge() -> None:
    with pytest.raises(InputError, match="init_from is not set"):
        task.merge(OmegaConf.create({"init_from": None}))
