"""The whole pipeline in a few steps, on synthetic and on real pictures; a run that is killed and resumed."""

import csv
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pytest_httpserver import HTTPServer
from safetensors.torch import load_file
from werkzeug import Request, Response

from umed.evaluation.score import STAGES
from umed.run_files import read_jsonl

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("UMED_REAL_MAU", ROOT.parent / "shared" / "real_mau"))


def start(*overrides: str, **environment: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "run.py", *overrides]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=-1, stderr=-1)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    return out


@pytest.mark.slow
def test_a_smoke_run_leaves_what_the_outside_relies_on(finished_run: Path) -> None:
    metrics = json.loads((finished_run / "metrics.json").read_text())
    for stage in STAGES:
        for rule in ("accuracy", "iou", "accuracy_sampled", "iou_sampled", "acc@0.5", "unparsed"):
            assert 0 <= metrics[f"{stage}/mau/{rule}/avg"] <= 1
        lines = list(read_jsonl(finished_run / "predictions" / stage / "mau.jsonl"))
        assert lines and all(line["source"].startswith("phantom_") for line in lines)
    with_substitutes = {name.split("/")[0] for name in metrics if name.endswith(("/black", "/shuffled"))}
    assert with_substitutes == {"aar"}, "the model is shown other pictures after the last stage only"
    for name in ("records.jsonl", "dropped.jsonl", ".hydra/config.yaml", "adapter/adapter_config.json",
                 "adapter/umed.json", "figures/examples.png", "figures/reward_curves.png"):  # fmt: skip
        assert (finished_run / name).is_file(), name
    assert list((finished_run / "checkpoints" / "aar").glob("*.ckpt")) and list((finished_run / "wandb").iterdir())
    results = (finished_run / "report" / "results.txt").read_text()
    assert "aar by every rule" in results and "accuracy / IoU" in results and "split file" in results


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real slices are not on this machine")
def test_real_slices_go_through_the_whole_pipeline(tmp_path: Path) -> None:
    out = finish(
        start(
            "trainer=smoke", "data/source=[folder]", f"data.source.folder.root={REAL}", "data.source.folder.name=real",
            f"hydra.run.dir={tmp_path / 'run'}", "data.split.fractions=[0.6,0.2,0.2]", "logger=csv",
            "data/benchmark=[]",
        )
    )  # fmt: skip
    assert "real" in out and "SYNTHETIC" not in out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["prepare/real/kept"] == 27 and metrics["prepare/real/unlabeled"] == 15
    assert math.isfinite(metrics["aar/mau/iou/real"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "aar"])
def test_a_killed_run_resumes_to_the_same_bits(method: str, tmp_path: Path) -> None:
    """2 + SIGKILL + 2 = 4: weights of the adapter and the critic are equal to the last bit."""
    small = [
        "task=train", f"method={method}", "data.checkpoint_every=2", f"method.steps={6}", "method.epochs=null",
        "data.source.phantom.num_images=30", f"paths.data={tmp_path / 'data'}", "logger=csv", "limits.eval_samples=4",
        "method.val_samples=4", "method.batch_size=4",
    ]  # fmt: skip
    finish(start(*small, f"hydra.run.dir={tmp_path / 'whole'}"))
    killed = tmp_path / "killed"
    process = start(*small, f"hydra.run.dir={killed}")
    while not list((killed / "checkpoints").glob("*/*.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "adapter" / "umed.json").exists(), "killed too late to prove anything"
    finish(start(f"resume={killed}"))
    for name in ("adapter_model.safetensors", "value_head.safetensors"):
        whole, resumed = load_file(tmp_path / "whole" / "adapter" / name), load_file(killed / "adapter" / name)
        assert whole.keys() == resumed.keys()
        assert all((whole[k] == resumed[k]).all() for k in whole), name
    rows = [(r / "predictions" / method / "mau.jsonl").read_text() for r in (tmp_path / "whole", killed)]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_a_pipeline_killed_between_two_stages_ends_as_if_it_had_not_been(finished_run: Path, tmp_path: Path) -> None:
    """Killed while the PPO row is trained: what was done is not done again, the rest ends with the same numbers."""
    run = tmp_path / "run"
    overrides = [o for o in OmegaConf.load(finished_run / ".hydra" / "overrides.yaml") if o != "logger=wandb"]
    process = start(*overrides, f"hydra.run.dir={run}")
    while not list((run / "checkpoints").glob("ppo/*.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (run / "adapter" / "ppo" / "umed.json").exists(), "killed too late to prove anything"
    before = (run / "adapter" / "sft" / "umed.json").stat().st_mtime_ns
    finish(start(f"resume={run}"))
    assert (run / "adapter" / "sft" / "umed.json").stat().st_mtime_ns == before
    assert json.loads((run / "metrics.json").read_text()) == json.loads((finished_run / "metrics.json").read_text())
    whole, resumed = (load_file(r / "adapter" / "adapter_model.safetensors") for r in (finished_run, run))
    assert all((whole[k] == resumed[k]).all() for k in whole)


@pytest.mark.slow
def test_a_resumed_run_with_another_config_names_the_keys(finished_run: Path) -> None:
    process = start("method.lr=0.5", f"resume={finished_run}")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    line = err.strip().splitlines()[-1]
    assert line.startswith("error: resume=") and "method.lr" in line and "0.5 here" in line


@pytest.mark.slow
def test_the_adapter_loads_in_plain_peft(finished_run: Path) -> None:
    """A test prediction of the run comes out of transformers and peft alone."""
    script = f"""
import json, torch
from pathlib import Path
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil as Pictures
run = Path({str(finished_run)!r})
base = {str(ROOT / "src" / "umed" / "models" / "tiny_base")!r}
model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
model = PeftModel.from_pretrained(model, run / "adapter").eval()
tokenizer = AutoTokenizer.from_pretrained(run / "adapter")
lines = map(json.loads, (run / "predictions/aar/mau.jsonl").open())
line = next(line for line in lines if line["source"] == "phantom_nih_chest")  # 8 bits: plain PIL opens it
root = Path(json.loads((run / "sources.json").read_text())[line["source"]])
image = Image.open(root / line["image"]).convert("RGB")
pictures = Pictures.from_pretrained(run / "adapter")
picture = pictures(image, return_tensors="pt")
words = [{{"role": "user", "content": [{{"type": "image"}}, {{"type": "text", "text": line["question"]}}]}}]
text = tokenizer.apply_chat_template(words, tokenize=False, add_generation_prompt=True)
tokens = int(picture["image_grid_thw"].prod()) // pictures.merge_size**2
text = text.replace("<|image_pad|>", "<|image_pad|>" * tokens)
batch = tokenizer(text, return_tensors="pt")
types = (batch["input_ids"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")).long()
ids = model.generate(**batch, **picture, mm_token_type_ids=types, max_new_tokens=64, do_sample=False)
said = tokenizer.decode(ids[0, batch["input_ids"].shape[1]:], skip_special_tokens=True)
assert said == line["output"], (said, line["output"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=finished_run, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_a_served_judge_in_the_pipeline(httpserver: HTTPServer, tmp_path: Path) -> None:
    """One answer in three cannot be judged: masked and counted, and the run goes on."""

    def reply(request: Request) -> Response:
        said = request.get_data(as_text=True)
        content = "I refuse." if "kidney stone" in said else json.dumps({"reason": "r", "score": 0.25})
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
        return Response(json.dumps(body), content_type="application/json")

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(reply)
    run = tmp_path / "run"
    finish(
        start(
            "trainer=smoke", "judge=openai", f"judge.base_url={httpserver.url_for('/v1')}", f"hydra.run.dir={run}",
            "judge.max_retries=0", "data.source.phantom.num_images=12", f"paths.data={tmp_path}", "logger=csv",
            OPENAI_API_KEY="sk-test-0123456789-never-show-me",
        )
    )  # fmt: skip
    rows = list(csv.DictReader((run / "logs" / "aar" / "metrics.csv").read_text().splitlines()))
    judged = [float(r["reward/relevance"]) for r in rows if r.get("reward/relevance")]
    failed = [float(r["rollout/judge_failed"]) for r in rows if r.get("rollout/judge_failed")]
    assert judged and all(v == pytest.approx(0.25) for v in judged) and any(0 < v < 1 for v in failed)
    assert (run / "judge_cache.sqlite").is_file()
    written = b"".join(p.read_bytes() for p in run.rglob("*") if p.is_file())
    assert b"never-show-me" not in written


@pytest.mark.slow
def test_a_judge_that_is_down_ends_with_one_line_and_keeps_the_stages_before(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = tmp_path / "run"
    process = start(
        "trainer=smoke", "judge=openai", f"judge.base_url=http://127.0.0.1:{port}/v1", f"hydra.run.dir={run}",
        "judge.max_retries=0", "data.source.phantom.num_images=12", f"paths.data={tmp_path}", "logger=csv",
        OPENAI_API_KEY="sk-test",
    )  # fmt: skip
    _, err = process.communicate(timeout=600)
    assert process.returncode == 1
    last = err.strip().splitlines()[-1]
    assert f"127.0.0.1:{port}" in last and "Traceback" not in err
    assert (run / "adapter" / "sft" / "umed.json").is_file()
