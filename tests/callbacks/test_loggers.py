"""History that survives a kill, one W&B id a stage, and a config without secrets."""

import warnings
from pathlib import Path

import pandas as pd
import pytest
import wandb
from omegaconf import OmegaConf

from umed.callbacks.loggers import AppendingCSVLogger, StageWandb, check_wandb, choices, public
from umed.errors import InputError


def log(run: Path, *rows: tuple[int, dict[str, float]]) -> Path:
    logger = AppendingCSVLogger(run, name="logs", version="aar", flush_logs_every_n_steps=1)
    for step, row in rows:
        logger.log_metrics(row, step)
    return run / "logs" / "aar" / "metrics.csv"


def test_rows_are_on_the_disk_at_once(tmp_path):
    path = log(tmp_path, (0, {"a": 1.0}), (1, {"a": 2.0}))
    assert pd.read_csv(path)["a"].tolist() == [1.0, 2.0]


def test_a_resume_goes_on_after_a_kill_within_a_row(tmp_path):
    path = log(tmp_path, (0, {"a": 1.0}), (1, {"a": 2.0}))
    path.write_text(path.read_text() + "3.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log(tmp_path, (1, {"a": 2.0}), (2, {"a": 5.0, "b": 7.0}))
    table = pd.read_csv(path)
    assert table["a"].tolist() == [1.0, 2.0, 2.0, 5.0]
    assert table["b"].dropna().tolist() == [7.0]


def test_each_stage_keeps_its_wandb_id(tmp_path):
    ids = [StageWandb(stage, tmp_path, project="p").version for stage in ("sft", "aar", "sft")]
    assert ids[0] == ids[2] != ids[1]


LONG = "x" * 70


@pytest.mark.parametrize(
    ("project", "own", "environment", "told"),
    [
        *((f"a{c}b", {}, {}, "logger.wandb: Invalid project name .*name=") for c in "/\\#?%:"),
        ("x" * 140, {}, {}, "exceeded 128 characters"),
        *((name, {}, {}, "W&B needs a project with a name") for name in ("", None, "..", " ", "a\nb")),
        ("p", {"tags": [LONG]}, {}, "logger.wandb: run_tags: .* is 70 characters"),
        ("p", {"colour": "red"}, {}, "logger.wandb: .*colour"),
        ("p", {}, {"WANDB_MODE": "ofline"}, "environment, WANDB_.*: mode: Input should be 'online', 'offline'"),
        ("p", {}, {"WANDB_PROJECT": "a/b"}, "environment, WANDB_.*: Invalid project name"),
        ("p", {}, {"WANDB_TAGS": LONG}, "environment, WANDB_.*: run_tags"),
    ],
)
def test_what_wandb_would_refuse_later_is_refused_at_the_start(tmp_path, monkeypatch, project, own, environment, told):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=told) as error:
        StageWandb("sft", tmp_path, project=project, **own)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("project", ["umed", "my study ", "研究", 2024, "x" * 128])
def test_names_that_wandb_takes(tmp_path, project):
    run = tmp_path / ("r" * 200)
    init = StageWandb("sft", run, project=project, tags=["a", "a"], job_type="mine")._wandb_init
    assert init["project"] == str(project).strip() and init["job_type"] == "mine" and init["tags"] == ["a"]
    assert len(init["group"]) <= 128 and init["group"] != StageWandb("sft", run / "r", project="p")._wandb_init["group"]


def test_runs_are_sent_only_with_a_key_and_a_refusal_is_one_line(tmp_path, monkeypatch):
    logger = StageWandb("sft", tmp_path, project="p")

    def refuse(**_):
        raise wandb.errors.CommError("no such host\nretrying")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(InputError, match="W&B: no such host retrying: .*WANDB_MODE=offline"):
        _ = logger.experiment
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    with pytest.raises(InputError, match="WANDB_MODE=online: no API key"):
        check_wandb({})


def test_public_config_has_no_secret():
    config = OmegaConf.create(
        {
            "judge": {
                "api_key": "sk-1",
                "base_url": "https://me:sk-2@example.org/v1",
                "url": "${judge.api_key}",
                "header": "${oc.env:UMED_TEST_VALUE}",
                "extra": [{"Authorization": "sk-3"}],
                "password": 4,
            },
            "method": {"max_new_tokens": 64, "lr": "${recipe.lr}", "judge": "${judge}", "aggregation": "token_mean"},
            "recipe": {"lr": 0.1},
            "paths": {"run_dir": "${hydra:runtime.output_dir}"},
        }
    )
    shown = public(config)
    assert "sk-" not in str(shown) and "password" not in str(shown)
    assert shown["judge"]["base_url"] == "https://example.org/v1"
    assert shown["method"] == {"max_new_tokens": 64, "lr": 0.1, "judge": "${judge}", "aggregation": "token_mean"}
    assert shown["paths"]["run_dir"] == "${hydra:runtime.output_dir}"


def test_tags_are_the_choices_of_the_start(tmp_path):
    (tmp_path / ".hydra").mkdir()
    groups = {"data": {"source": {"nih_chest": {}}}, "reward": {"parts": {"relevance": {}, "localization": {}}}}
    OmegaConf.save(groups, tmp_path / ".hydra" / "config.yaml")
    chosen = {"hydra": {"runtime": {"choices": {"model": "tiny", "trainer": "smoke", "credit": None}}}}
    OmegaConf.save(chosen, tmp_path / ".hydra" / "hydra.yaml")
    assert choices(tmp_path) == ["model=tiny", "source=nih_chest", "reward=relevance", "reward=localization"]
    assert choices(tmp_path / "elsewhere") == []
