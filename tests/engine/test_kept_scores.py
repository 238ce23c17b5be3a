"""With one update a batch, its gradients come from the pass that scored the rollout, and are those of a new pass."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from methods.test_aar import LORA, Judged, aar, by_ids, trained
from torch import Tensor

from umed.chat import Prompt
from umed.engine.budget import Budget
from umed.engine.engine import Engine
from umed.methods.credit.group import GroupCredit
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.rewards.vision_relevance import VisionRelevanceReward
from umed.rollout import Answers

NAMES = torch.tensor([[1, 2]] * 4)


@pytest.fixture
def scored(policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]) -> tuple[Policy, list, tuple]:
    """A policy, prompts, and two answers to each with their mask."""
    pi, prompts = policy(adapter=LORA), make_prompts(2)
    answers = pi.sample(prompts, 2, 5, noise=Noise(0))
    return pi, prompts, (answers.ids_BT, answers.mask_BT)


@pytest.fixture
def train_once(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> Callable[..., tuple[dict, dict[str, Tensor]]]:
    """One batch with these settings: what is logged, and the trained weights."""

    def run(**settings: object) -> tuple[dict, dict[str, Tensor]]:
        pi = policy(adapter=LORA)
        (logged,) = train(aar(pi, max_grad_norm=1e9, **settings), [make_prompts(2)])
        return logged, trained(pi)

    return run


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="plain"),
        pytest.param({"kl": Kl(0.5, "k1", "loss")}, id="a reference is scored in between"),
        pytest.param(
            {
                "parts": {"relevance": Judged(by_ids), "vision_relevance": VisionRelevanceReward()},
                "objective": {"reward_term": "differentiable", "mask_truncated": True},
                "looking": "answer",
                "credit": GroupCredit(),
            },
            id="attention with its graph, cut-off answers left out",
        ),
    ],
)
def test_the_step_equals_that_of_a_new_pass(
    train_once: Callable, monkeypatch: pytest.MonkeyPatch, settings: dict
) -> None:
    outcomes, take, sample = [], Engine.take_live, Policy.sample

    def cut_off_the_first(pi: Policy, *args: object, **kwargs: object) -> Answers:
        answers = sample(pi, *args, **kwargs)
        answers.truncated_B = torch.arange(len(answers.ids_BT)) == 0
        return answers

    monkeypatch.setattr(Policy, "sample", cut_off_the_first)
    for kept in (True, False):
        taken: list[bool] = []

        def take_live(engine: Engine, kept: bool = kept, taken: list[bool] = taken) -> object:
            live = take(engine)
            taken.append(live is not None)
            return live if kept else None

        monkeypatch.setattr(Engine, "take_live", take_live)
        outcomes.append(train_once(**settings))
        assert taken == [True]
    (live, weights), (again, others) = outcomes
    norm = live["policy/grad_norm"]
    assert norm > 0 and norm == pytest.approx(again["policy/grad_norm"], rel=1e-4)
    for name, weight in weights.items():
        share = ((weight - others[name]).abs() < 1e-4).float().mean()
        assert share > 0.9, name


def test_a_resume_that_cuts_the_gradients_takes_no_part_twice(
    train_once: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The scores fit with their graph, the step behind them did not: the resumed run knows that only by its file."""
    loss, outcomes = ClippedObjective.loss, []
    for is_short in (True, False):
        left = [is_short]

        def loss_of(objective: ClippedObjective, *args: object, left: list[bool] = left) -> object:
            if left[0]:
                left[0] = False
                raise torch.OutOfMemoryError("out")
            return loss(objective, *args)

        monkeypatch.setattr(ClippedObjective, "loss", loss_of)
        budget = Budget(100_000, tmp_path / "engine.json", "aar")
        outcomes.append(train_once(budget=budget))
        assert len(budget.halvings) == 1
    (first, weights), (again, others) = outcomes
    assert first["policy/grad_norm"] == again["policy/grad_norm"] > 0
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize("graph", [True, False])
def test_attention_keeps_its_graph_only_where_it_is_asked_for(scored: tuple, graph: bool) -> None:
    pi, prompts, answers = scored
    engine = Engine(pi)
    engine.score(prompts, *answers, NAMES, keep=True, keep_attention=graph)
    live = engine.take_live()
    assert live is not None and live.attention_BNP.requires_grad is graph and live.logp_BT.requires_grad
    assert live.attention_BNP.sum() > 0 and engine.take_live() is None


def test_where_memory_is_short_nothing_is_kept_and_the_scores_are_the_same(
    scored: tuple, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pi, prompts, (ids, mask) = scored
    expected = Engine(pi).score(prompts, ids, mask)
    engine, score, calls = Engine(pi, Budget(10_000)), pi.score, list[bool]()

    def fail_once(*args: object, **kwargs: object) -> object:
        calls.append(torch.is_grad_enabled())
        if len(calls) == 1:
            raise torch.OutOfMemoryError("out")
        return score(*args, **kwargs)

    monkeypatch.setattr(pi, "score", fail_once)
    found = engine.score(prompts, ids, mask, keep=True)
    assert calls[:2] == [True, False] and engine.take_live() is None
    assert "out of memory: engine.tokens" in capsys.readouterr().out
    assert engine.budget.halvings[0].cached is False  # it was a pass with gradients that did not fit

    def valid(t: Tensor) -> Tensor:
        return t[mask]

    torch.testing.assert_close(valid(found.logp_BT), valid(expected.logp_BT), atol=1e-5, rtol=0)
