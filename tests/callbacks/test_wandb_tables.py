"""What a reader of W&B finds, read back from a real offline run."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from answers import diagnose, predict
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image

from umed.boxes import Box
from umed.callbacks.headlines import HEADLINE_RULES, headline_numbers, list_panels
from umed.callbacks.loggers import StageWandb
from umed.callbacks.wandb_artifacts import log_artifacts
from umed.callbacks.wandb_tables import RolloutTables, attention_of, log_evaluation, spread
from umed.engine.engine import Engine
from umed.evaluation.evaluate import Evaluation
from umed.evaluation.score import Score
from umed.methods.sampler import Sampler
from umed.models.noise import Noise
from umed.rewards.total import Scored
from umed.rollout import Rollout, TrainingBatch


@pytest.fixture
def rollout(policy, make_prompts) -> TrainingBatch:
    """Two queries with two answers each; one answer names the abnormality and has a box."""
    made = Sampler(2, 4)(Engine(policy()), make_prompts(2, (140, 112)), frozenset(), Noise(0))
    view = made.prompts[0].view
    heat = torch.zeros(4, 1, view.tokens)
    heat[1, 0, 7] = 0.5
    name = torch.tensor([[-1], [2], [-1], [-1]])
    boxes = [None, [Box(0.2, 0.2, 0.6, 0.5)], None, None]
    raw = ["a", "<think>a cyst?</think>a stone", "b", "<think>c"]
    made = replace(made, name_BN=name, attention_BNP=heat, boxes=boxes, raw=raw)
    zeros = torch.zeros(made.mask_BT.shape)
    added = {"ref_logp_BT": made.logp_BT, "advantages_BT": zeros, "returns_BT": zeros}
    return TrainingBatch.of(made, reward_B=torch.zeros(4), maxima={}, **added)


def scored() -> Scored:
    raw = {"relevance": torch.tensor([0.0, 0.75, torch.nan, 0.0]), "localization": torch.tensor([0.0, 0.5, 0.0, 0.0])}
    return Scored(torch.tensor([0.0, 1.75, torch.nan, 0.0]), 2, raw, raw, {}, {}, ())


def trained(run: Path, roots: Path, rollout: Rollout, iterations: int) -> None:
    """What Lightning would call for these iterations."""
    logger = StageWandb("aar", run, project="test")
    trainer: Any = SimpleNamespace(
        loggers=[logger], is_global_zero=True, datamodule=SimpleNamespace(roots={"synthetic": roots})
    )
    tables, module = RolloutTables(every=2, rows=2), SimpleNamespace(stage="aar", iteration=0)
    tables.on_train_start(trainer, module)
    for i in range(iterations):
        tables.on_train_batch_start(trainer, module, rollout.prompts, i)
        logger.log_metrics({"reward/total": 0.5, "aar/iteration": float(i)}, i)
        module.iteration = i + 1
        tables.on_train_batch_end(trainer, module, {"batch": rollout, "scored": scored()}, rollout.prompts, i)
    logger.log_metrics({"val/mau/iou/avg": 0.25, "policy/lr": 0.5}, iterations - 1)
    logger.finalize("success")
    logger.experiment.finish()


def read_back(run: Path) -> list[dict[str, Any]]:
    (path,) = run.glob("wandb/offline-run-*/*.wandb")
    command = [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", path]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_offline_run_shows_pictures_tables_and_no_secret(tmp_path, rollout, monkeypatch):
    for name in ("0.png", "1.png"):
        Image.fromarray(np.full((112, 140, 3), 90, np.uint8)).save(tmp_path / name)
    run = tmp_path / "run"
    (run / ".hydra").mkdir(parents=True)
    OmegaConf.save({"judge": {"api_key": "sk-hidden", "model": "m"}, "seed": 3}, run / ".hydra" / "config.yaml")
    monkeypatch.setattr(sys, "argv", ["run.py", "judge.api_key=sk-hidden"])
    trained(run, tmp_path, rollout, iterations=3)

    records = read_back(run)
    history = [r["history"]["item"] for r in records if r["type"] == "history"]
    keys = [{k.split(".")[0] for k in item} for item in history]
    assert "first_batch" in keys[0] and "reward/total" not in keys[0]  # before anything is learned
    tables = [item for item, found in zip(history, keys, strict=True) if "rollouts/table" in found]
    assert len(tables) == 2 and not [k for found in keys for k in found if k.startswith("rollouts/0")]
    summary = {k.split(".")[0] for r in records if r["type"] == "summary" for k in r["summary"].get("item", {})}
    assert "policy/lr" not in summary
    (validated,) = [item for item in history if "val/mau/iou/avg" in item]
    assert validated["aar/iteration"] == 2

    path = min(run.glob("wandb/offline-run-*/files/media/table/rollouts/table_*.json"))
    table = json.loads(path.read_text())
    assert table["columns"] == [
        *("iteration", "id", "picture", "attention", "query", "answer", "gold"),
        *("relevance", "localization", "total", "advantage"),
    ]
    row = dict(zip(table["columns"], table["data"][1], strict=True))
    assert (row["id"], row["answer"], row["gold"]) == ("synthetic/0", "a stone", rollout.golds[0])
    assert (row["relevance"], row["localization"], row["total"]) == (0.75, 0.5, 1.75)
    assert row["picture"] == row["attention"] == "Image" and table["data"][0][3] is None and row["iteration"] == 0

    media = {p.name.split("_")[0] for p in run.glob("wandb/offline-run-*/files/media/images/**/*.png")}
    assert {"first", "pictures"} <= media
    everything = [p for p in (run / "wandb").rglob("*") if p.is_file()]
    assert len(everything) > 5
    assert not [p for p in everything if b"sk-hidden" in p.read_bytes()]
    told = json.dumps([r["run"] for r in records if r["type"] == "run"])
    assert '"seed"' in told and "api_key" not in told


def test_an_evaluation_joins_the_run_of_its_stage(tmp_path: Path) -> None:
    """Metrics, the example pictures, and of each data set as many answers of every part."""
    mau = [diagnose(k, "ab"[k > 1], "A cyst.", [[0.0, 0.0, 5.0, 10.0]]) for k in range(3)]
    slake = [predict(0, "slake", "closed", 2, "yes")]
    run = tmp_path / "run"
    StageWandb("aar", run, project="test").finalize("success")
    kept = (run / "logs" / "aar" / "wandb_id").read_text()
    folder = run / "adapter" / "sft"
    for file in (run / "records.jsonl", folder / "adapter_config.json", run / "predictions" / "aar" / "mau.jsonl"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}\n")
    for name in ("adapter_config.json", "umed.json"):
        (run / "adapter" / name).write_text(json.dumps({"stage": "aar", "started_from": "sft", "model": {}}))
    evaluation = Evaluation(
        "aar",
        {"mau": mau, "slake": slake},
        verdicts={"mau": [{"accuracy": True, "iou": 0.5}] * 3, "slake": [{"open_exact": None}]},
        scores=[Score("mau", "iou", 0.5, "avg")],
        throughput={"speed/ratio": 3.0},
    )
    logger = StageWandb("aar", run, project="test", tags=["mine"])
    log_evaluation(logger, evaluation, Figure(), rows=2)
    log_artifacts(logger.experiment, run, "aar", run / "adapter", trained=True)
    logger.experiment.finish()
    records = read_back(run)
    assert {r["run"]["run_id"] for r in records if r["type"] == "run"} == {kept}
    assert all("mine" in r["run"]["tags"] for r in records if r["type"] == "run")
    artifacts = [json.dumps(r) for r in records if "artifact" in r["type"]]
    for name in ("records-run", "adapter-aar-run", "adapter-sft-run", "predictions-aar-run"):
        assert any(name in text for text in artifacts), name
    used = [text for text in artifacts if '"use_after_commit": true' in text]
    assert len(used) == 2 and any("records-run" in t for t in used) and any("adapter-sft-run" in t for t in used)
    (item,) = [r["history"]["item"] for r in records if r["type"] == "history"]
    assert item["test/mau/iou/avg"] == 0.5 and item["test/speed/ratio"] == 3
    (all_scores,) = run.glob("wandb/offline-run-*/files/media/table/test/scores_*.json")
    assert json.loads(all_scores.read_text())["data"] == [["mau", "iou", 0.5, "avg", "", None, None, None]]
    tables = sorted(run.glob("wandb/offline-run-*/files/media/table/*.json"), key=lambda p: "slake" in p.name)
    of_mau, of_slake = [json.loads(path.read_text()) for path in tables]
    assert of_slake["data"] == [["item 0", "What?", "2", "yes", None]]
    assert of_mau["columns"] == ["id", "question", "answer", "output", "accuracy", "iou"]
    assert of_mau["data"] == [[f"item {k}", "What?", "A cyst.", "A cyst.", 1.0, 0.5] for k in (0, 2)]
    assert list(run.glob("wandb/offline-run-*/files/media/images/examples_*.png"))


def test_attention_is_read_in_raster_order(rollout):
    heat = attention_of(rollout, 1)
    view = rollout.prompts[0].view
    assert heat is not None and heat.shape == (view.grids[0].rows, view.grids[0].columns)
    assert np.argwhere(heat).tolist() == [[*divmod(7, view.grids[0].columns)]]
    assert attention_of(rollout, 0) is None


def test_table_compares_answers_of_several_queries(rollout):
    assert spread(rollout, 16) == [0, 1, 2, 3]
    assert spread(rollout, 2) == [0, 1]
    assert spread(rollout, 3) == [0, 1]


def test_without_wandb_or_a_rollout_nothing_happens(tmp_path, rollout):
    trainer: Any = SimpleNamespace(loggers=[], is_global_zero=True)
    tables, module = RolloutTables(), SimpleNamespace(stage="aar", iteration=0)
    tables.on_train_start(trainer, module)
    tables.on_train_batch_start(trainer, module, rollout.prompts, 0)
    tables.on_train_batch_end(trainer, module, {"batch": rollout, "scored": scored()}, rollout.prompts, 0)
    trainer.loggers = [StageWandb("sft", tmp_path, project="test")]
    tables.on_train_batch_end(trainer, SimpleNamespace(iteration=1), {}, rollout.prompts, 0)  # tuning has none
    trainer.loggers[0].finalize("success")


def test_the_summary_of_a_stage_has_about_thirty_numbers() -> None:
    rules = {dataset: [*of, "another"] for dataset, of in HEADLINE_RULES.items()}
    scores = [
        Score(f"{'' if dataset == 'mau' else 'phantom_'}{dataset}", rule, 0.5, slice_, row)
        for dataset, of in rules.items()
        for rule in of
        for slice_ in ("", "avg", "deeplesion")
        for row in ("", "majority")
    ]
    numbers = headline_numbers(scores)
    assert {"test/mau/iou/avg", "test/phantom_slake/open_recall"} <= set(numbers) and len(scores) > 100
    assert len(numbers) + len(list_panels()) <= 40
    assert not [name for name in numbers if "another" in name or "majority" in name or "deeplesion" in name]
