"""A small LLaVA with real pretrained halves goes through everything on real slices; UMED_REAL_VLM names its folder."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = os.environ.get("UMED_REAL_VLM", "")
SLICES = Path(os.environ.get("UMED_REAL_MAU", ROOT.parent / "shared" / "real_mau"))
ASK = """
import sys, torch
from transformers import AutoModelForImageTextToText, AutoTokenizer
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
words = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
text = tokenizer.apply_chat_template(words, tokenize=False, add_generation_prompt=True)
batch = tokenizer(text, return_tensors="pt", add_special_tokens=False)
ids = model.generate(**batch, max_new_tokens=30, do_sample=False)
print(tokenizer.decode(ids[0, batch["input_ids"].shape[1]:], skip_special_tokens=True))
"""


def run(*command: str) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def logged(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


@pytest.mark.slow
@pytest.mark.skipif(not Path(MODEL, "config.json").is_file(), reason="UMED_REAL_VLM names no model folder")
@pytest.mark.skipif(not SLICES.is_dir(), reason="the real slices are not on this machine")
def test_real_halves_learn_are_rewarded_and_still_speak(tmp_path: Path) -> None:
    common = [
        "run.py", "model=llava_1_5_7b", f"model.path={MODEL}", "model.dtype=float32", "model.adapter.r=16",
        "+model.adapter.modules_to_save=[multi_modal_projector]", "data/source=[folder]",
        f"data.source.folder.root={SLICES}", "data.source.folder.name=real", "data.split.fractions=[0.6,0.2,0.2]",
        "logger=csv", "method.val_samples=2", "limits.eval_samples=4",
        "method.max_new_tokens=90",
    ]  # fmt: skip
    sft, aar = tmp_path / "sft", tmp_path / "aar"
    learn = ["method.steps=60", "method.lr=3e-4", "method.batch_size=4"]
    run(*common, "task=train", "method=sft", *learn, f"hydra.run.dir={sft}")
    loss = logged(sft / "logs" / "sft", "sft/loss")
    assert sum(loss[-4:]) / 4 < 0.5 * sum(loss[:2]) / 2
    assert json.loads((sft / "metrics.json").read_text())["sft/mau/unparsed/avg"] < 0.5

    again = [f"records={sft / 'records.jsonl'}", f"init_from={sft}", "method.steps=1"]
    small = ["method.batch_size=2", "method.num_candidates=2", "method.num_epochs=1"]
    run(*common, "task=train", "method=aar", *again, *small, f"hydra.run.dir={aar}")
    for name in ("relevance", "localization", "vision_relevance"):
        assert all(math.isfinite(v) for v in logged(aar / "logs" / "aar", f"reward/{name}"))

    run(*common, "task=merge", f"init_from={aar}", f"hydra.run.dir={tmp_path / 'merge'}")
    answer = run("-c", ASK, str(tmp_path / "merge" / "merged"))
    print(f"loss {loss[0]:.2f} -> {loss[-1]:.2f}; it still says: {answer}")
    assert "Paris" in answer
