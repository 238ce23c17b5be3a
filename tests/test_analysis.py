"""A run folder read back: tables, histories, the same pictures after each stage, and where a model looks."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from answers import SCORERS
from composed import composed
from omegaconf import OmegaConf
from PIL import Image

from tests.conftest import make_record
from umed import config
from umed.analysis import Run, newest_run, open_run, policy_of, write_figures
from umed.errors import InputError
from umed.evaluation.benchmarks.mau import question_of
from umed.evaluation.prediction import Prediction
from umed.evaluation.results import score_predictions
from umed.evaluation.score import flat_metrics
from umed.evaluation.scorer import judge_all
from umed.figures import heat_overlay, shorten_boxes
from umed.models.load import load_policy, save_adapter
from umed.models.policy import Policy
from umed.records import Record
from umed.run_files import write_jsonl

SIZE = (112, 84)


def records() -> list[Record]:
    made = [replace(make_record(i, *SIZE), split="train" if i == 5 else "test") for i in range(6)]
    return [replace(r, source="phantom_a" if i < 2 else "phantom_b") for i, r in enumerate(made)]


def answer(record: Record, boxes: Any, output: str) -> Prediction:
    return Prediction(question=question_of(record, ["stone", "cyst", "lung nodule"]), boxes=boxes, output=output)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, processor: Any, backbone: str) -> Path:
    """The folder of a made-up run with the stages base (says nothing) and aar (says the truth)."""
    root, made = tmp_path_factory.mktemp("made"), records()
    folder = root / "runs" / "umed" / "one"
    (folder / ".hydra").mkdir(parents=True)
    target = {"_target_": f"{backbone}.{type(processor).__name__}", "path": "${model.path}"}
    cfg = composed(f"model.path={tiny_folder}", f"model.backbone={backbone}", "method.max_new_tokens=4")
    model = {**cfg.model, "path": str(tiny_folder), "backbone": backbone, "processor": target, "frozen": []}
    model |= {"attention": {"layers": None, "heads": None, "pool": "mean"}}
    OmegaConf.save({"model": model, "seed": 0, "method": {"max_new_tokens": 4}}, folder / ".hydra" / "config.yaml")
    for r in made:
        (root / r.source).mkdir(exist_ok=True)
        Image.fromarray(np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)).save(root / r.source / r.image)
    write_jsonl(folder / "records.jsonl", (r.to_json() for r in made))
    (folder / "sources.json").write_text(json.dumps({r.source: str(root / r.source) for r in made}))
    tests, metrics = made[:5], {}
    answers = {
        "base": [answer(r, None, "I see nothing") for r in tests],
        "aar": [answer(r, r.to_json()["boxes"], f"A {r.category}.") for r in tests],
    }
    for stage, predictions in answers.items():
        write_jsonl(folder / "predictions" / stage / "mau.jsonl", (p.to_line() for p in predictions))
        scores = score_predictions(predictions, judge_all(predictions, SCORERS), SCORERS, draws=0)
        metrics |= flat_metrics(scores, stage)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    for stage, column in {"sft": "sft/loss", "aar": "reward/total"}.items():
        log = folder / "logs" / stage / "metrics.csv"
        log.parent.mkdir(parents=True)
        # iteration 1 was run twice: the second time after a resume
        log.write_text(
            f"step,{column},reward/localization,reward/localization_normalized,val/mau/iou/avg\n"
            "0,1,.1,1,\n1,2,.2,1,\n1,,,,.25\n1,3,.3,1,\n2,4,.4,1,\n"
        )
    adapter = {"r": 2, "target_modules": "all-linear"}
    save_adapter(
        load_policy(str(tiny_folder), processor, backbone, adapter=adapter), folder / "adapter", {"stage": "aar"}
    )
    return folder


@pytest.fixture
def run(made: Path) -> Run:
    return open_run(made)


def test_history_merges_validation_and_what_a_resume_repeats(run):
    history = run.history("aar")
    assert history.index.tolist() == [0, 1, 2]
    assert history["reward/total"].tolist() == [1, 3, 4]
    assert history["val/mau/iou/avg"].dropna().to_dict() == {1: 0.25}
    with pytest.raises(InputError, match="ppo"):
        run.history("ppo")


def test_table_and_predictions(run):
    assert run.stages == ["base", "aar"]
    table = run.table()
    assert table.loc["aar", ("phantom_b", "IoU")] == 1 and table.loc["base", ("avg", "accuracy")] == 0
    assert run.predictions("aar")["iou"].tolist() == [1.0] * 5
    assert run.predictions("base")["unparsed"].tolist() == [1.0] * 5


def test_a_run_that_evaluated_alone_can_be_read(evaluated):
    """The predictions and numbers of `task=evaluate` itself."""
    run = open_run(evaluated.folder)
    assert run.stages == ["base"] and run.synthetic
    table = run.table()
    for source in [*run.sources, "avg"]:
        for column, rule in (("accuracy", "accuracy"), ("IoU", "iou")):
            value = table.loc["base", (source, column)]
            assert value == evaluated.metrics.get(f"base/mau/{rule}/{source}", value) or np.isnan(value)
    frame = run.predictions("base")
    kept = evaluated.lines("scores/mau")
    assert frame["iou"].tolist() == [v["iou"] for v in kept] and len(run.judged("base")) == len(frame)
    assert len(run.examples(2).axes) == 2


def test_examples_show_every_stage_and_every_source(run):
    figure = run.examples(count=3)
    assert [a.get_title() for a in figure.axes[:2]] == ["base", "aar"]
    assert [a.get_ylabel() for a in figure.axes[::2]] == [
        "phantom_a: stone",
        "phantom_b: lung nodule",
        "phantom_a: cyst",
    ]
    below = [a.get_xlabel() for a in figure.axes[:2]]
    assert below == ["I see nothing [wrong, IoU 0.00]", "A stone. [right, IoU 1.00]"]
    assert "SYNTHETIC" in figure.get_suptitle()
    base, aar = (np.asarray(a.images[0].get_array()).astype(int) for a in figure.axes[:2])
    assert not np.array_equal(base, aar)  # the said boxes


def test_curves_of_the_rewarding_stages_only(run):
    figure = run.reward_curves()
    assert len(figure.axes) == 3
    (drawn,) = figure.axes[0].lines
    assert (drawn.get_label(), drawn.get_ydata().tolist()) == ("localization", [0.1, 0.3, 0.4])
    assert figure.axes[2].lines[0].get_xdata().tolist() == [1]


def test_titles_of_real_pictures_do_not_say_synthetic(run):
    run.roots = {"nih_chest": Path()}
    assert "SYNTHETIC" not in run.reward_curves().get_suptitle()


def test_attention_figure_opens_the_stage(run):
    record = run.some(1)[0]
    figure = run.attention("aar", record)
    assert figure.axes[0].get_title() == "aar" and "names no abnormality" in figure.axes[0].get_xlabel().replace(
        "\n", " "
    )
    assert run.adapter("aar") == run.folder / "adapter" and run.adapter("base") is None
    with pytest.raises(InputError, match="ppo"):
        run.adapter("ppo")


@pytest.mark.parametrize("critic", ["shared", "separate", "adapter", "mine"])
def test_a_stage_is_loaded_as_it_was_trained(made, tiny_folder, processor, backbone, tmp_path, monkeypatch, critic):
    """With its critic, also one in a file beside the run's run.py, in its dtype, and on the device of its trainer."""
    folder, start = tmp_path / "run", tmp_path / "start"
    shutil.copytree(made, folder)
    start.mkdir()
    (start / "my_analysis_critics.py").write_text(
        "from umed.models.critics.shared import SharedCritic\nclass Mine(SharedCritic): ...\n"
    )
    (folder / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": {"runtime": {"cwd": str(start)}}}))
    monkeypatch.setattr("sys.path", [*sys.path])
    mine = {"_target_": "my_analysis_critics.Mine", "_partial_": True}
    node = mine if critic == "mine" else composed(f"critic={critic}").critic
    cfg = OmegaConf.load(folder / ".hydra" / "config.yaml")
    cfg.critic, cfg.model.dtype = node, "bfloat16"
    cfg.trainer = composed("trainer.accelerator=cpu", "trainer.precision=bf16-mixed").trainer
    cfg.model.attention = {"layers": [0], "heads": [1], "pool": "max"}
    OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(start))
        make = config.create(OmegaConf.create(node))
        trained = load_policy(str(tiny_folder), processor, backbone, adapter={"r": 2}, critic=make, dtype="bfloat16")
    with torch.no_grad():
        trained.value_head.layers[-1].bias.fill_(3)
    save_adapter(trained, folder / "adapter", {"stage": "aar"})
    sys.modules.pop("my_analysis_critics", None)
    run = open_run(folder)
    policy = policy_of(run, "aar")
    assert type(policy.critic).__name__ == type(trained.critic).__name__ and not policy.training
    assert policy.value_head.layers[-1].bias.item() == 3 and next(policy.core.parameters()).dtype == torch.bfloat16
    assert (len(policy._attention_modules), policy._attention_heads, policy._attention_pool) == (1, [1], "max")
    seen, sample = [], Policy.sample

    def watch(*args, **kwargs):
        seen.append(torch.is_autocast_enabled("cpu"))
        return sample(*args, **kwargs)

    monkeypatch.setattr(Policy, "sample", watch)
    run.attentions(run.some(1), ["aar"])
    assert seen == [True] and type(policy_of(run, "base").critic).__name__ == "SharedCritic"


def test_heat_is_most_colored_where_it_is_most():
    heat = np.full((2, 4), 0.02)
    heat[1, 2] = 0.03
    pixels = np.asarray(heat_overlay(Image.new("RGB", (80, 40), (90, 90, 90)), heat)).astype(int)
    color = pixels[..., 0] - pixels[..., 1]
    row, column = np.unravel_index(color.argmax(), color.shape)
    assert 20 <= row < 40 and 40 <= column < 60 and color[0, 0] == 0
    even = np.asarray(heat_overlay(Image.new("RGB", (8, 4), (90, 90, 90)), heat * 0 + 0.1))
    assert (even == 90).all()


def test_answers_are_shown_without_their_json():
    box = '{"bbox_2d":[1,2,3,4],"label":"cyst"}'
    assert shorten_boxes(f"Here: [{box},{box}]. A stone.") == "Here: (box: cyst). A stone."
    assert shorten_boxes('cut: [{"bbox_2d":[1,2') == "cut: (box)"


def test_write_figures(run):
    write_figures(run.folder)
    names = sorted(p.name for p in (run.folder / "figures").iterdir())
    assert names == ["attention.png", "examples.png", "reward_curves.png"]


def test_data_shows_whole_rows(run):
    assert len(run.data(count=3).axes) == 1  # one training record


def test_newest_run(made, tmp_path):
    assert newest_run(made.parents[1]) == made
    with pytest.raises(InputError, match=r"python run\.py"):
        newest_run(tmp_path / "none")
    with pytest.raises(InputError, match=r"metrics\.json"):
        open_run(tmp_path)
