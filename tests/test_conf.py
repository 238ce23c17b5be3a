"""Every yaml composes, and every `_target_` exists and takes the keys it is given."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from composed import CONF, composed
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

ROOT = Path(__file__).parents[1]
WHOLE = ("experiment", "debug")  # they change other groups
SEVERAL = ("reward", "callbacks", "data/source", "data/benchmark")
FILES = sorted(p for p in CONF.rglob("*.yaml") if "hydra" not in p.parts)


def targets(node: Any) -> list[dict[str, Any]]:
    found = []
    if isinstance(node, dict):
        found += [node] if "_target_" in node else []
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            found += targets(child)
    return found


def included(entry: str | dict[str, Any]) -> list[str]:
    """The files that an entry of a defaults list names."""
    if isinstance(entry, str):
        return [entry.split("@")[0]] * (entry != "_self_")
    ((key, choices),) = entry.items()
    group = key.removeprefix("override ").removeprefix("optional ").split("@")[0]
    several = choices if isinstance(choices, list) else [choices]
    return [f"{group}/{c}" for c in several if c is not None and "${" not in c and "optional " not in key]


def check(cfg: DictConfig, at_least: int = 5) -> None:
    nodes = targets(OmegaConf.to_container(cfg, resolve=False))
    assert len(nodes) >= at_least
    for node in nodes:
        target = get_object(node["_target_"])
        known = inspect.signature(target).parameters
        if any(p.kind is p.VAR_KEYWORD for p in known.values()) and inspect.isclass(target):
            for base in inspect.getmro(target)[1:-1]:
                known = {**known, **inspect.signature(base.__init__).parameters}
        wrong = [k for k in node if not k.startswith("_") and k not in known]
        # the pipeline's nested stage config is read by the task, not passed to it
        wrong = [k for k in wrong if not node["_target_"].startswith("umed.tasks.")]
        assert not wrong, f"{node['_target_']} knows no {wrong}"


def test_every_yaml_has_targets_that_take_its_keys_and_defaults_that_exist() -> None:
    """Each file by itself, since Hydra takes a second for each composition."""
    assert len(FILES) > 70
    for path in FILES:
        cfg = OmegaConf.load(path)
        check(cfg, at_least=0)
        for entry in OmegaConf.to_container(cfg, resolve=False).get("defaults", []):
            for name in included(entry):
                folder = CONF if name.startswith("/") or path.parent == CONF else path.parent
                assert (folder / f"{name.lstrip('/')}.yaml").is_file(), f"{path}: no {name}"


def test_all_choices_of_a_list_compose_together() -> None:
    lists = {g: [p.stem for p in sorted((CONF / g).glob("*.yaml"))] for g in SEVERAL}
    check(composed(*(f"{group}=[{','.join(choices)}]" for group, choices in lists.items())), at_least=20)


@pytest.mark.parametrize("choice", [f"{g}={p.stem}" for g in WHOLE for p in sorted((CONF / g).glob("*.yaml"))])
def test_every_overlay_composes(choice: str) -> None:
    check(composed(choice))


def test_tests_compose_what_commands_compose() -> None:
    words = ["trainer=smoke", "paths.run_dir=/x", "method.batch_size=3", "+judge.request.seed=1", "reward=[relevance]",
             "data.split.fractions=[0.5,0.25,0.25]", "++name=a"]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        theirs = compose("config", overrides=words)
    assert OmegaConf.to_yaml(composed(*words)) == OmegaConf.to_yaml(theirs)
    with pytest.raises(ConfigCompositionException, match="method.batch"):
        composed("method.batch=3")


def test_a_planted_typo_is_caught() -> None:
    with pytest.raises(AssertionError, match="clip_epz"):
        check(composed("+objective.clip_epz=0.1"))


def test_the_default_rewards_are_the_papers_three() -> None:
    cfg = composed()
    assert list(cfg.reward.parts) == ["relevance", "localization", "vision_relevance"]
    assert cfg.reward.normalize == "max" and cfg.objective.clip_eps == 0.2


def test_the_embedded_model_chooses_its_credit_and_the_command_line_comes_first() -> None:
    cfg = composed()
    assert (cfg.credit.scope, cfg.objective.reward_term) == ("span", "differentiable")
    assert composed("reward=[relevance]").objective.reward_term == "credit"  # no attention is rewarded
    assert composed("credit=gae").credit.gae_lambda == composed("model=qwen3_vl_2b").credit.gae_lambda == 0.95


def test_the_papers_run_is_one_file_whose_parts_can_be_left_out() -> None:
    cfg = composed(
        "experiment=umed_lvlm", "paths.mau=/mau", "data/source=[deeplesion,kvasir]", "data/benchmark=[slake]"
    )
    assert {n: s.root for n, s in cfg.data.source.items()} == {
        "deeplesion": "/mau/DeepLesion",
        "kvasir": "/mau/Kvasir-SEG",
    }
    assert {n: s.root for n, s in cfg.data.benchmark.items()} == {"slake": "/mau/SLAKE"}
    assert (cfg.task.sft.epochs, cfg.method.epochs, cfg.model.backbone) == (4, 1, "umed.models.backbones.medvint")
    whole = composed("experiment=umed_lvlm")
    assert len(whole.data.source) == 5 and len(whole.data.benchmark) == 4
    assert composed("data/benchmark=[slake]").data.benchmark.slake.root is None
    with pytest.raises(InterpolationResolutionError, match="data.source.kvasir.root is not set"):
        _ = composed("data/source=[kvasir]").data.source.kvasir.root
