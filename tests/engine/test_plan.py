"""The plan: lines between counts, what fits, and what the settings of a model change."""

from pathlib import Path

import pytest
from composed import CONF, composed
from omegaconf import DictConfig

from umed.engine.plan import GB, Line, Phase, Plan
from umed.engine.planner import Planner
from umed.models.load import load_policy
from umed.synthetic.tiny_models import backbone_of, family_names, write_tiny_of

LINE = Line(((100, 1000), (200, 3000), (400, 4000)))
CONSTANT = Line(((0, 2000),))


def test_a_line_is_straight_between_its_counts_and_behind_the_last() -> None:
    assert [LINE.peak(t) for t in (50, 100, 150, 200, 300, 800)] == [1000, 1000, 2000, 3000, 3500, 6000]
    assert [LINE.tokens(s) for s in (999, 1000, 2000, 3500, 6000)] == [0, 100, 150, 300, 800]
    assert CONSTANT.peak(10) == 2000 and CONSTANT.tokens(1999) == 0 and CONSTANT.tokens(2000) == float("inf")


def test_the_largest_budget_is_the_one_whose_peak_is_the_size() -> None:
    phase = Phase(120, {"gradients": LINE, "optimizer": CONSTANT}, 500, 0, 0)
    assert phase.peak(100) == 2000 and phase.peak(400) == 4000
    for size in (2000, 2345, 5000):
        tokens = phase.largest_budget(size)
        assert tokens is not None and phase.peak(tokens) <= size < phase.peak(tokens + 1)
    assert phase.largest_budget(1500) is None  # the optimizer's step
    assert Phase(160, {"gradients": LINE}, 500, 0, 0).largest_budget(2000) is None  # one prompt needs more
    assert Phase(160, {"sampling": LINE}, 500, 0, 0).largest_budget(2000) is not None  # a cache holds 16 times as many
    other = Phase(120, {"sampling": Line(((0, 0), (100, 1000)))}, 0, 0, 0)
    plan = Plan({"sft": phase, "evaluate": other}, 0, 0)
    assert plan.largest_budget(4000 / 0.9, "sft") == 400 == int(other.peak(400) / 10)
    assert plan.largest_budget(1500, "sft") is None


@pytest.fixture(scope="module")
def cfg() -> DictConfig:
    return tiny_settings()


def tiny_settings(*overrides: str) -> DictConfig:
    small = ["method=sft", "method.max_new_tokens=8", "task.aar.max_new_tokens=8", "task.aar.num_candidates=2"]
    return composed("task=plan", "model=tiny", *small, *overrides)


@pytest.mark.slow
def test_what_settings_change(cfg: DictConfig) -> None:
    plain = Planner(cfg, 16).plan(cfg.method, cfg.task.aar, cfg.method)
    assert (plain.prompt_tokens, plain.image_tokens) == (32, 16)
    sft, aar, evaluate = (plain.phases[name] for name in ("sft", "aar", "evaluate"))
    assert sft.least == 40 and evaluate.activations == 0 and evaluate.cache == sft.cache > 0
    for phase in (sft, aar):
        assert phase.peak(4096) > phase.peak(1024) > phase.weights
        assert phase.activations > 10 * phase.cache

    def count(*overrides: str) -> dict[str, Phase]:
        changed = tiny_settings(*overrides)
        planner = Planner(changed, 16)
        return {"sft": planner.tuning(changed.method), "aar": planner.rewarding(changed.task.aar)}

    recomputed = count("model.gradient_checkpointing=true")
    assert recomputed["sft"].activations < 0.5 * sft.activations
    whole = count("model.adapter=null")
    moments = whole["sft"].lines["optimizer"].peak(0) / whole["sft"].weights
    assert moments > 4.9  # weights, gradients, two moments and one copy
    assert "pictures" not in whole["sft"].lines and "pictures" in sft.lines
    frozen = count("model.adapter=null", "model.frozen=[visual]")
    assert frozen["sft"].peak(1024) < whole["sft"].peak(1024)
    assert count("model.adapter.lora_dropout=0.1")["sft"].activations > sft.activations
    separate = count("critic=separate")
    assert separate["aar"].weights > 1.9 * aar.weights and separate["aar"].activations > 1.5 * aar.activations
    assert separate["sft"].weights == sft.weights
    half = count("model.dtype=bfloat16")
    assert half["sft"].activations < sft.activations and half["sft"].cache == sft.cache / 2
    through = count("objective.reward_term=differentiable")
    assert through["aar"].activations > aar.activations
    without = count("reward=[relevance]", "credit=group")["aar"]
    assert without.lines["scoring"].peak(4096) < aar.lines["scoring"].peak(4096)
    assert count("method.kl.coef=0", "task.aar.kl.coef=0.1")["aar"].peak(1024) > aar.peak(1024)
    assert count("trainer.precision=bf16-mixed")["sft"].activations < sft.activations


@pytest.mark.slow
@pytest.mark.parametrize("family", family_names())
def test_every_family_is_planned(tmp_path: Path, family: str) -> None:
    write_tiny_of(family)(tmp_path, ["word"])
    yaml = next(p.stem for p in (CONF / "model").glob("*.yaml") if f"backbones.{family}\n" in p.read_text())
    rewards = "reward=[relevance,localization]" if backbone_of(family).no_attention else "reward=[vision_relevance]"
    small = ["method=sft", "method.max_new_tokens=8", "task.aar.max_new_tokens=8", "task.aar.num_candidates=2"]
    path = [f"model={yaml}", f"model.path={tmp_path}", f"model.processor.path={tmp_path}", "model.dtype=float32"]
    tiles = ["model.processor.longest_edge=112"] if family in ("idefics3", "smolvlm") else []
    cfg = composed("task=plan", *path, *small, *tiles, rewards)
    planner = Planner(cfg, 16, gpu=False)
    plan = planner.plan(cfg.method, cfg.task.aar, cfg.method)
    for phase in plan.phases.values():
        assert phase.peak(4096) > phase.peak(512) > phase.weights > 0 and phase.cache > 0
    policy = load_policy(str(tmp_path), backbone_of(family).processor_class(str(tmp_path)), cfg.model.backbone)
    weights = sum(t.nbytes for t in (*policy.model.parameters(), *policy.model.buffers()))
    assert plan.phases["evaluate"].weights > weights  # the adapter and the value head


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "aar"])
def test_a_7b_model_with_an_adapter_trains_in_40_gb(method: str) -> None:
    """At 512 image tokens: whole answers of 256 tokens, and for rewarding all four to a query in one part."""
    cfg = composed("task=plan", "model=qwen2_5_vl_7b", f"method={method}")
    planner = Planner(cfg)
    assert planner.prompts[0].view.tokens == 512
    phase = planner.tuning(cfg.method) if method == "sft" else planner.rewarding(cfg.method)
    assert 15 < phase.weights / GB < 16
    whole = planner.prompt_tokens + (256 if method == "sft" else 4 * 256)
    assert phase.peak(whole) < 36 * GB and (phase.largest_budget(36 * GB) or 0) >= whole
