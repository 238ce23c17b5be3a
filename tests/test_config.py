"""`.hydra/` of a run folder, the names of sweep folders, and the PPO row of the pipeline."""

import json
from pathlib import Path

import pytest
from composed import CONF, composed
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import umed
from umed import config, tasks
from umed.annotate.stage import find_roots
from umed.errors import InputError
from umed.tasks.pipeline import check_stages, reward_stage
from umed.training import build_method


def compose_whole(*overrides: str) -> DictConfig:
    """With what is Hydra's own."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=True)


@pytest.fixture(scope="module")
def whole() -> DictConfig:
    return compose_whole("seed=3")


@pytest.fixture
def running(whole: DictConfig, tmp_path: Path):
    """A config inside a running Hydra."""
    HydraConfig.instance().set_config(whole)
    yield composed("seed=3", f"paths.run_dir={tmp_path / 'run'}")
    HydraConfig.instance().cfg = None


def test_a_run_keeps_what_it_was_started_with(running, tmp_path: Path) -> None:
    config.store(running, tmp_path / "run")
    assert config.stored_config(tmp_path / "run").seed == 3
    assert "seed=3" in OmegaConf.load(tmp_path / "run" / ".hydra" / "overrides.yaml")
    assert OmegaConf.load(tmp_path / "run" / ".hydra" / "hydra.yaml").hydra.runtime.choices.method == "aar"


def test_the_config_of_a_trained_run_stays(running, tmp_path: Path) -> None:
    config.store(running, tmp_path / "run")
    (tmp_path / "run" / "adapter").mkdir()
    running.seed = 4
    running.task._target_ = "umed.tasks.evaluate.evaluate"
    config.store(running, tmp_path / "run")
    assert config.stored_config(tmp_path / "run").seed == 3


def test_a_resume_goes_on_in_its_own_folder(running, tmp_path: Path) -> None:
    config.store(running, tmp_path / "run")
    running.resume = str(tmp_path / "run")
    assert config.resume_config(running, []).seed == 3
    assert config.resume_config(running, ["seed=3"]).seed == 3
    with pytest.raises(InputError, match=r"differs from the run's own in seed \(3 there, 4 here\)"):
        config.resume_config(OmegaConf.merge(running, {"seed": 4}), ["seed=4"])
    running.paths.run_dir = str(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"its own folder.*-m"):
        config.resume_config(running, [])


def test_a_resume_may_change_the_engine_and_keeps_the_change(running, tmp_path: Path) -> None:
    """The other settings of the run stay, and need not be repeated."""
    config.store(running, tmp_path / "run")
    now = composed(f"resume={tmp_path / 'run'}", f"paths.run_dir={tmp_path / 'run'}", "engine.tokens=700")
    for overrides in (["engine.tokens=700"], []):
        cfg = tasks.resume(now, [f"resume={now.resume}", *overrides])
        assert (cfg.seed, cfg.engine.tokens, cfg.engine.merge) == (3, 700, running.engine.merge)
        now.engine.merge = "true"  # as another default of a later version, which nobody asked for
    assert config.stored_config(tmp_path / "run").version == umed.__version__


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("engine.tokens=many", "engine.tokens=many: a whole number"),
        ("+engine.features.foo=1", "engine.features="),
        ("engine.merge=false", r"differs from the run's own in engine.merge \(auto there, False here\)"),
    ],
)
def test_a_resume_with_a_wrong_engine_leaves_the_run_as_it_was(running, tmp_path: Path, override, line) -> None:
    config.store(running, tmp_path / "run")
    before = (tmp_path / "run" / ".hydra" / "config.yaml").read_text()
    here = ["seed=3", f"resume={tmp_path / 'run'}", f"paths.run_dir={tmp_path / 'run'}", override]
    with pytest.raises(InputError, match=line):
        tasks.resume(composed(*here), [f"resume={tmp_path / 'run'}", override])
    assert (tmp_path / "run" / ".hydra" / "config.yaml").read_text() == before


def test_a_run_of_another_version_is_opened_but_not_resumed(running, tmp_path: Path) -> None:
    config.store(running, tmp_path / "run")
    path = tmp_path / "run" / ".hydra" / "config.yaml"
    stored = OmegaConf.load(path)
    stored.pop("version")  # as version 0.1.0 wrote it
    OmegaConf.save(stored, path)
    running.resume = str(tmp_path / "run")
    with pytest.raises(InputError, match=r"written by umed 0\.1\.0, this is .*init_from="):
        config.resume_config(running, [])
    assert config.stored_config(tmp_path / "run").seed == 3


def test_a_sweep_folder_is_named_after_the_overrides_and_every_folder_lies_in_runs() -> None:
    cfg = compose_whole("name=../lab/study")
    cfg.hydra.job.override_dirname = "reward=[relevance,localization],seed=1"
    assert cfg.hydra.sweep.subdir == "reward-relevance-localization-seed-1"
    for folder in (cfg.hydra.run.dir, cfg.hydra.sweep.dir):
        assert Path(folder).parent == Path("runs/lab-study")


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        (["init_from=a"], "init_from-a"),
        (["experiment=umed_lvlm"], "experiment-umed_lvlm"),
        (["experiment=table2_main", "seed=2", "paths.data=/x"], "seed-2"),
        (["experiment=credits_phantom", "credit=gae", "init_from=/x/a", "records=/x/b"], "credit-gae"),
    ],
)
def test_all_that_decides_a_result_is_in_the_folders_name(swept: list[str], name: str) -> None:
    assert compose_whole(*swept).hydra.sweep.subdir == name


@pytest.mark.parametrize("owner", ["judge", "annotator"])
@pytest.mark.parametrize(
    ("given", "request_fields"),
    [
        ([], {"temperature": 0}),
        (["OWNER.request={}"], {}),
        (["OWNER.request={}", "+OWNER.request.seed=3"], {"seed": 3}),
        (["++OWNER.request.seed=3", "OWNER.request={}"], {}),
        (["OWNER.request=null"], None),
        (["~OWNER.request.temperature"], {}),
        (["OWNER.request={temperature: 1}"], {"temperature": 1}),
    ],
)
def test_an_empty_mapping_empties_the_request(owner: str, given: list[str], request_fields: object) -> None:
    overrides = [f"{owner}=openai", *(text.replace("OWNER", owner) for text in given)]
    assert config.empty_requests(composed(*overrides), overrides)[owner].request == request_fields


@pytest.mark.parametrize(
    "overrides",
    [["objective.reward_term=differentiable"], ["reward=[localization,vision_relevance]"]],
)
def test_the_ppo_row_can_be_made_for_every_reading(overrides: list[str]) -> None:
    cfg = composed(*overrides, "paths.run_dir=run")
    method = build_method(cfg, reward_stage(cfg, "ppo"), stage="ppo")
    assert list(method.rewards.parts) == ["relevance"] and method.stage == "ppo"


def test_an_ablation_is_a_stage_for_each_set_of_rewards() -> None:
    cfg = composed("task.stages=[without_vrr,without_relevance,aar]", "paths.run_dir=run")
    kept = {
        stage: list(build_method(cfg, reward_stage(cfg, stage), stage=stage).rewards.parts)
        for stage in check_stages(cfg)
    }
    assert kept == {
        "without_vrr": ["relevance", "localization"],
        "without_relevance": ["localization", "vision_relevance"],
        "aar": ["relevance", "localization", "vision_relevance"],
    }
    without = reward_stage(cfg, "without_vrr")
    assert without.objective.reward_term == "credit", "no attention is rewarded"
    assert reward_stage(cfg, "without_relevance").objective.reward_term == "differentiable"
    cfg = composed("task.stages=[aar_boxes_only,aar]", "paths.run_dir=run")
    assert [reward_stage(cfg, stage).queries for stage in check_stages(cfg)] == ["boxes_only", "annotated"]
    with pytest.raises(InputError, match="method.queries=all"):
        build_method(cfg := composed("method.queries=all", "paths.run_dir=run"), cfg.method)
    for wrong in ("[]", "[aar,aar]", "[sft]", "[apo]", "aar"):
        with pytest.raises(InputError, match="task.stages=.*list some of ppo, aar, aar_boxes_only, without_vrr"):
            check_stages(composed(f"task.stages={wrong}"))
    with pytest.raises(InputError, match="without_vrr keeps localization"):
        check_stages(composed("reward=[relevance]", "task.stages=[without_vrr]"))


@pytest.mark.parametrize("name", ["qwen2_5_vl_3b", "qwen3_vl_2b"])
def test_a_released_model_writes_every_coordinate(name: str) -> None:
    """The embedded model's coarse steps and its settings of the method are its own."""
    cfg = composed(f"model={name}")
    assert "step" not in cfg.model.processor and cfg.objective.c3 == 0.01 and cfg.method.num_epochs == 2
    assert cfg.method.critic_lr is None
    assert (cfg.task.sft.epochs, cfg.task.sft.steps, cfg.task.sft.lr) == (4, None, 2e-5)


def test_a_models_own_settings_reach_every_stage_and_the_command_line_wins() -> None:
    cfg = composed("task.sft.steps=7", "method.lr=0.5", "objective.c3=0.2")
    assert (cfg.task.sft.steps, cfg.task.sft.epochs, cfg.task.sft.lr) == (7, None, 5e-3)
    assert (cfg.method.lr, cfg.method.steps, cfg.method.num_candidates) == (0.5, 50, 16)
    assert (cfg.objective.c3, cfg.objective.value_clip) == (0.2, 1.0)
    assert composed("task=train", "method=sft").method.steps == 500


def test_pictures_that_moved_are_found_where_the_config_says(tmp_path: Path) -> None:
    there, moved = tmp_path / "there", tmp_path / "moved"
    there.mkdir()
    (tmp_path / "sources.json").write_text(json.dumps({"folder": str(there)}))
    cfg = composed("data/source=[folder]", f"data.source.folder.root={moved}")
    assert find_roots(cfg, tmp_path)["folder"] == there, "what was noted counts while it is there"
    there.rename(moved)
    assert find_roots(cfg, tmp_path)["folder"] == moved
