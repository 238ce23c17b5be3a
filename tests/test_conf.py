"""Every yaml composes, and every `_target_` exists and takes the keys it is given."""

import inspect
from typing import Any

import pytest
from composed import CONF, composed
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError

GROUPS = [
    *(
        "model",
        "method",
        "credit",
        "critic",
        "objective",
        "judge",
        "annotator",
        "trainer",
        "logger",
        "debug",
        "total",
        "task",
    ),
    "data/split",
    "data/protocol",
    "data/synonyms",
]
CHOICES = {g: [p.stem for p in sorted((CONF / g).glob("*.yaml")) if p.stem != "base"] for g in GROUPS}
MULTI = {
    g: [p.stem for p in sorted((CONF / g).glob("*.yaml"))]
    for g in ("reward", "callbacks", "data/source", "data/benchmark")
}
# one of each group beside one of every other: a composition takes a third of a second, whatever is in it
SETS = [[f"{g}={of[k % len(of)]}" for g, of in CHOICES.items()] for k in range(max(map(len, CHOICES.values())))]
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))


def targets(node: Any) -> list[dict[str, Any]]:
    found = []
    if isinstance(node, dict):
        found += [node] if "_target_" in node else []
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            found += targets(child)
    return found


def check(cfg: DictConfig) -> None:
    nodes = targets(OmegaConf.to_container(cfg, resolve=False))
    assert len(nodes) > 5
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


@pytest.mark.parametrize("choices", SETS, ids=" ".join)
def test_every_choice_composes_and_its_targets_take_its_keys(choices: list[str]) -> None:
    check(composed(*choices))


def test_every_multi_choice_composes() -> None:
    check(composed(*(f"{group}=[{','.join(choices)}]" for group, choices in MULTI.items())))


def test_tests_compose_what_commands_compose() -> None:
    words = ["trainer=smoke", "paths.run_dir=/x", "method.batch_size=3", "+judge.request.seed=1", "reward=[relevance]",
             "data.split.fractions=[0.5,0.25,0.25]", "++name=a"]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        theirs = compose("config", overrides=words)
    assert OmegaConf.to_yaml(composed(*words)) == OmegaConf.to_yaml(theirs)
    with pytest.raises(ConfigAttributeError, match="batch"):
        composed("method.batch=3")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment: str) -> None:
    check(composed(f"experiment={experiment}"))


def test_a_planted_typo_is_caught() -> None:
    with pytest.raises(AssertionError, match="clip_epz"):
        check(composed("+objective.clip_epz=0.1"))


def test_every_yaml_is_reached() -> None:
    reached = {f"{g}/{c}" for g, of in (CHOICES | MULTI).items() for c in of} | {f"experiment/{e}" for e in EXPERIMENTS}
    reached |= {"config", "paths/default", "data/mau", "hydra/help/umed", "hydra/job_logging/none"}
    reached |= {"hydra/hydra_logging/none", "model/base"}
    reached |= {f"overlay/{p.stem}" for p in (CONF / "overlay").glob("*.yaml")}  # of a model: see below
    assert {str(p.relative_to(CONF).with_suffix("")) for p in CONF.rglob("*.yaml")} == reached


def test_the_default_rewards_are_the_papers_three() -> None:
    cfg = composed()
    assert list(cfg.reward.parts) == ["relevance", "localization", "vision_relevance"]
    assert cfg.reward.normalize == "max" and cfg.credit.gae_lambda == 0.95 and cfg.objective.clip_eps == 0.2
