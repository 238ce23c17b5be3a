"""Pictures in, answers and annotated pictures out."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from composed import composed
from omegaconf import DictConfig
from PIL import Image

from umed.boxes import Box
from umed.errors import InputError
from umed.tasks.predict import predict

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture
def asked(tmp_path: Path, tiny_folder: Path, processor: Any) -> Any:
    def build(*images: Path, more: tuple[str, ...] = ()) -> DictConfig:
        module, given = type(processor).__module__, ",".join(map(str, images))
        model = [
            f"model.path={tiny_folder}", f"model.backbone={module}",
            f"model.processor._target_={module}.{type(processor).__name__}", "method.max_new_tokens=4",
        ]  # fmt: skip
        return composed("task=predict", *model, f"images=[{given}]", f"paths.run_dir={tmp_path / 'run'}", *more)

    return build


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "scan.png"
    path.parent.mkdir()
    Image.fromarray(np.full((80, 160), 100, np.uint8)).save(path)
    return path


def test_answers_and_annotated_pictures(asked, picture, processor, tmp_path, monkeypatch, capsys):
    other = tmp_path / "scan.png"
    Image.new("RGB", (60, 60)).save(other)
    monkeypatch.setattr(type(processor), "read_boxes", lambda *_: [Box(0.25, 0.5, 0.75, 1.0)])
    predict(asked(picture, other))
    out = tmp_path / "run" / "predict"
    first, second = (json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines())
    assert first["boxes"] == [[40.0, 40.0, 120.0, 80.0]] and (first["width"], first["height"]) == (160, 80)
    assert (first["annotated"], second["annotated"]) == ("scan.png", "scan_2.png")
    drawn = np.asarray(Image.open(out / "scan.png")).astype(int)
    assert (drawn[..., 0] > drawn[..., 2] + 50).any()  # the orange outline on a gray picture
    assert "[[40.0, 40.0, 120.0, 80.0]]" in capsys.readouterr().out


def test_no_box_is_no_zero(asked, picture, processor, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(type(processor), "read_boxes", lambda *_: None)
    predict(asked(picture))
    line = json.loads((tmp_path / "run" / "predict" / "answers.jsonl").read_text())
    assert line["boxes"] is None and "none could be read" in capsys.readouterr().out


def test_a_reply_that_ends_inside_a_thought_has_no_answer(asked, picture, processor, tmp_path, monkeypatch, capsys):
    others = [tmp_path / "second.png", tmp_path / "third.png"]
    for other in others:
        Image.new("RGB", (60, 60)).save(other)
    replies = {"<think>A stone": None, "A cyst?</think>\n\nA stone.": "A stone.", "": ""}
    said = iter(replies)
    monkeypatch.setattr(type(processor), "decode", lambda *_: next(said))
    predict(asked(picture, *others))
    lines = map(json.loads, (tmp_path / "run" / "predict" / "answers.jsonl").read_text().splitlines())
    assert [(line["output"], line["answer"], line["boxes"]) for line in lines] == [(*r, None) for r in replies.items()]
    assert "answer: none: the reply ends inside a thought; raise method.max_new_tokens" in capsys.readouterr().out


def test_what_asks_no_model_imports_none() -> None:
    """And what a model does not need is imported by no file of the room at its top."""
    check = "import sys, umed.tasks.predict; assert not {'torch', 'matplotlib', 'scipy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", check], check=True, env={**os.environ, "PYTHONPATH": str(SRC)})
    for path in (SRC / "umed" / "models").rglob("*.py"):
        top = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
        modules = {m for n in top for m in ([a.name for a in n.names] if isinstance(n, ast.Import) else [n.module])}
        heavy = {str(m).split(".")[0] for m in modules} & {"lightning", "wandb", "torchmetrics", "pandas", "matplotlib"}
        assert not heavy and ("peft" not in modules or "critics" in path.parts), path


def test_wrong_input_is_told_before_the_model_is_loaded(asked, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("umed.models.load.build_policy", lambda *_: pytest.fail("loaded"))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match="images=\\["):
        predict(asked())
    with pytest.raises(InputError, match=r"missing\.png"):
        predict(asked(picture, tmp_path / "missing.png"))
    with pytest.raises(InputError, match=r"text\.png"):
        predict(asked(picture, tmp_path / "text.png"))
    for window in ("widest", "[5,5]", "12"):
        with pytest.raises(InputError, match=r"task\.window=.*: range, percentile or"):
            predict(asked(tmp_path / "text.png", more=(f"task.window={window}",)))


def test_deep_pictures_are_shown_from_black_to_white(asked, processor, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(type(processor), "read_boxes", lambda *_: None)
    # the middle 99 % leave out the first and the last of 320 columns
    ramp = np.tile(np.linspace(34_000, 46_000, 320), (80, 1)).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    for more, told, ends in (
        ((), "gray values from 34037 (black) to 45962 (white)", (34_037, 45_962)),
        (("task.window=range",), "gray values from 34000 (black) to 46000 (white)", (34_000, 46_000)),
        (("task.window=[40000,41000]",), "", (40_000, 41_000)),
    ):
        predict(asked(tmp_path / "deep.png", more=more))
        out = capsys.readouterr().out
        assert told in out and ("gray values" in out) == bool(told)
        drawn = np.asarray(Image.open(tmp_path / "run" / "predict" / "deep.png")).astype(float)
        wanted = np.clip((ramp.astype(float) - ends[0]) / (ends[1] - ends[0]), 0, 1)[..., None] * 255
        assert np.abs(drawn - wanted).max() < 1


@pytest.mark.parametrize("given", ["null", "[]", "[null]"])
def test_no_picture_is_told(tmp_path: Path, given: str) -> None:
    with pytest.raises(InputError, match="images is empty"):
        predict(composed("task=predict", f"images={given}", f"paths.run_dir={tmp_path}"))


def test_a_number_names_a_file_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no picture 5"):
        predict(composed("task=predict", "images=5", f"paths.run_dir={tmp_path}"))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_answers_are_said_in_the_precision_of_the_trainer(asked, picture, monkeypatch, precision):
    import torch

    from umed.models.policy import Policy

    seen, sample = [], Policy.sample

    def watch(*args: Any, **kwargs: Any) -> Any:
        seen.append(torch.is_autocast_enabled("cpu"))
        return sample(*args, **kwargs)

    monkeypatch.setattr(Policy, "sample", watch)
    predict(asked(picture, more=("trainer.accelerator=cpu", f"trainer.precision={precision}")))
    assert seen == [precision == "bf16-mixed"]
