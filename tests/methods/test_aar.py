"""The loop of stage 2 on a tiny model: on-policy at first, and every option reaches the weights."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from umed.chat import Prompt
from umed.engine.budget import Budget
from umed.errors import InputError
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.credit.gae import GaeCredit
from umed.methods.credit.group import GroupCredit
from umed.methods.credit.reinforce_pp import ReinforceCredit
from umed.methods.credit.rloo import RlooCredit
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective
from umed.models.critics.adapter import AdapterCritic
from umed.models.critics.separate import SeparateCritic
from umed.models.critics.shared import SharedCritic
from umed.models.load import save_adapter
from umed.models.policy import Policy
from umed.rewards.base import Reward
from umed.rewards.localization import LocalizationReward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward
from umed.rollout import Rollout

LORA = {"r": 4, "target_modules": "all-linear"}


class Judged(Reward):
    """A reward from token ids, raw; `score` gets the rollout."""

    max_normalized = False
    judged = True

    def __init__(self, score: Callable[[Rollout], Tensor]) -> None:
        self.score = score

    def __call__(self, rollout: Rollout) -> Tensor:
        return self.score(rollout)


def by_ids(rollout: Rollout) -> Tensor:
    return (rollout.ids_BT[:, 0] % 7).float() / 7


def aar(
    policy: Policy | Callable[..., Policy] | None,
    parts: dict | None = None,
    credit: object = None,
    objective: dict | None = None,
    **kwargs: object,
) -> AbnormalAwareRewarding:
    """`policy` or what builds it; `objective` are the settings of the objective."""
    settings = {
        "lr": 1e-3, "batch_size": 2, "steps": 1, "schedule": "constant", "warmup": 0.0, "num_candidates": 3,
        "max_new_tokens": 5, "num_epochs": 1, "num_minibatches": 1,
    } | kwargs  # fmt: skip
    return AbnormalAwareRewarding(
        policy if not isinstance(policy, Policy) else lambda **_: policy,
        seed=0,
        rewards=TotalReward(parts or {"relevance": Judged(by_ids)}, settings["num_candidates"]),
        credit=credit or GaeCredit(),
        objective=partial(ClippedObjective, **(objective or {})),
        **settings,
    )


def trained(policy: Policy) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in policy.named_parameters() if p.requires_grad}


def moved(before: dict[str, Tensor], policy: Policy) -> set[str]:
    return {n for n, p in trained(policy).items() if not torch.equal(p, before[n])}


@pytest.mark.parametrize(("dropout", "temperature"), [(0.0, 1.0), (0.1, 0.7)])
def test_the_first_pass_is_on_policy(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    train: Callable,
    dropout: float,
    temperature: float,
) -> None:
    """Ratio 1, KL 0 and nothing clipped before the first step, whatever dropout the adapter was configured with."""
    adapter = {**LORA, "lora_dropout": dropout}

    def build(**options: object) -> Policy:
        pi = policy(adapter=adapter, temperature=temperature, **options)
        with torch.no_grad():
            for name, p in pi.named_parameters():
                if "lora_B" in name:
                    p.normal_(std=0.3)
        return pi

    method = aar(build)
    (logged,) = train(method, [make_prompts(2)])
    assert method.policy.training
    assert abs(logged["policy/kl"]) < 1e-9
    assert logged["policy/clipfrac"] == 0


def test_what_a_batch_logs(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    parts = {
        "relevance": Judged(by_ids),
        "localization": LocalizationReward(),
        "vision_relevance": VisionRelevanceReward(),
    }
    method = aar(policy(), parts, num_epochs=2, num_minibatches=2)
    outputs = []
    logged = train(method, [make_prompts(2), make_prompts(2, seed=1)], outputs)
    assert [line["aar/iteration"] for line in logged] == [0, 1]
    assert {
        "reward/total", "reward/relevance", "reward/localization", "reward/vision_relevance",
        "reward/localization_normalized", "rollout/unparsed", "rollout/length", "rollout/truncated",
        "rollout/judge_failed", "policy/clip", "policy/value_loss", "policy/entropy", "policy/kl", "policy/clipfrac",
        "policy/grad_norm", "policy/critic_grad_norm", "policy/explained_variance", "policy/lr",
        "time/sample", "time/score", "time/update",
    } <= set(logged[0])  # fmt: skip
    assert logged[0]["policy/clipfrac"] >= 0 and logged[0]["policy/kl"] > 0  # the later passes are off policy
    assert method.updates_per_batch == 4
    batch, scored = outputs[1]["batch"], outputs[1]["scored"]
    assert logged[1]["reward/total"] == pytest.approx(float(scored.total_B.mean()))
    assert logged[1]["rollout/unparsed"] == 1.0 and len(batch.raw) == 6


def test_both_parts_learn(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    pi = policy(adapter=LORA)
    before = trained(pi)
    frozen = pi.core.model.language_model.embed_tokens.weight.clone()
    train(aar(pi), [make_prompts(2)])
    names = moved(before, pi)
    assert any("lora_B" in n for n in names) and any("critic.head" in n for n in names)
    assert torch.equal(frozen, pi.core.model.language_model.embed_tokens.weight)


def test_the_cut_changes_nothing(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    outcomes = []
    prompts = make_prompts(4)
    widest = max(len(p.inputs["input_ids"]) for p in prompts)
    # all at once; single queries; single answers
    for tokens in (None, widest + 3 * 5, widest + 5):
        pi = policy(adapter=LORA)
        with torch.no_grad():
            for name, p in pi.named_parameters():
                if "lora_B" in name:
                    p.fill_(0.01)
        (logged,) = train(aar(pi, budget=Budget(tokens)), [prompts])
        outcomes.append((logged, trained(pi)))
    for logged, weights in outcomes[1:]:
        for name in ("policy/clip", "policy/value_loss", "policy/entropy", "policy/grad_norm"):
            assert logged[name] == pytest.approx(outcomes[0][0][name], rel=1e-3, abs=1e-6), name
        # Adam's first step is lr * sign(gradient): equal up to lr wherever the gradient is not noise
        share = [((w - outcomes[0][1][n]).abs() < 1e-4).float().mean() for n, w in weights.items()]
        assert min(share) > 0.9


@pytest.mark.parametrize("critic", [SharedCritic, pytest.param(SeparateCritic, marks=pytest.mark.slow)])
def test_a_large_value_loss_leaves_the_step_of_the_policy_as_it_was(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable, critic: type
) -> None:
    """Both gradients are clipped, and the critic's alone is larger."""
    outcomes = []
    for c2 in (0.5, 5e4):
        pi = policy(adapter={"r": 2}, critic=critic)
        (logged,) = train(aar(pi, objective={"c2": c2}, max_grad_norm=1e-8), [make_prompts(2)])
        outcomes.append((logged, [p.detach().clone() for p in pi.body()]))
    (small, one), (large, other) = outcomes
    assert large["policy/critic_grad_norm"] == pytest.approx(1e5 * small["policy/critic_grad_norm"], rel=1e-3)
    assert large["policy/grad_norm"] == small["policy/grad_norm"] > 1e-8
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_critic_warmup_trains_the_critic_alone(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    pi = policy(adapter=LORA)
    before = trained(pi)
    train(aar(pi, critic_warmup=1), [make_prompts(2)])
    names = moved(before, pi)
    assert names and all(n.startswith("critic.head.") for n in names)
    train(aar(pi, critic_warmup=1), [make_prompts(2)] * 2)
    assert any("lora_" in n for n in moved(before, pi))


@pytest.mark.parametrize("credit", [GaeCredit(), GroupCredit()])
def test_unscorable_answers_leave_every_weight_as_it_was(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable, credit: object
) -> None:
    pi = policy(adapter=LORA)
    before = trained(pi)
    failed = Judged(lambda rollout: torch.full((len(rollout.ids_BT),), torch.nan))
    (logged,) = train(aar(pi, {"relevance": failed}, credit), [make_prompts(2)])
    assert logged["rollout/judge_failed"] == 1.0
    assert not moved(before, pi)


def test_a_loss_that_is_not_finite_is_skipped_and_then_stops_with_its_name(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    train: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    pi = policy(adapter=LORA)
    with torch.no_grad():
        pi.value_head.layers[-1].bias.fill_(torch.inf)
    before = trained(pi)
    steered = {"kl": Kl(0.1, target=0.1, horizon=10), "objective": {"entropy_target": 1.0}}
    method = aar(pi, credit=GroupCredit(), **steered)
    (logged,) = train(method, [make_prompts(2)])
    assert logged["policy/skipped"] == 1 and math.isnan(logged["policy/value_loss"])
    assert not moved(before, pi)
    assert (logged["policy/kl_coef"], logged["policy/c3"]) == (method.kl.coef, method.objective.c3) == (0.1, 0.01)
    with pytest.raises(InputError, match="policy/value_loss, .*not finite at aar/iteration 1, 2 steps in a row"):
        train(aar(pi, credit=GroupCredit(), max_skipped=2), [make_prompts(2)] * 3)
    assert not moved(before, pi)
    kept = torch.load(tmp_path / "bad_batch.pt", weights_only=True)
    assert kept["records"] == ["synthetic/0", "synthetic/1"] or kept["records"] == ["synthetic/1", "synthetic/0"]
    assert len(kept["answers"]) == 6 and kept["ids_BT"].shape == kept["advantages_BT"].shape


def test_a_batch_that_nothing_could_score_is_told_once_and_momentum_does_not_move_it(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    train: Callable,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pi, seen = policy(adapter=LORA), []

    def score(rollout: Rollout) -> Tensor:
        seen.append(trained(pi))
        return by_ids(rollout) if len(seen) == 1 else torch.full((len(rollout.ids_BT),), torch.nan)

    method = aar(pi, {"relevance": Judged(score)}, kl=Kl(0.1, target=0.1, horizon=10))
    logged = train(method, [make_prompts(2)] * 3)
    assert logged[0]["policy/kl_coef"] != logged[1]["policy/kl_coef"] == logged[2]["policy/kl_coef"] == method.kl.coef
    assert [line["reward/unscored"] for line in logged] == [0, 1, 1]
    assert moved(seen[0], pi) and not moved(seen[1], pi)
    assert capsys.readouterr().err.count("nothing is learned from this batch") == 1


def test_answers_that_all_reached_the_limit_leave_every_weight_as_it_was(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    pi = policy(adapter=LORA)
    before = trained(pi)
    (logged,) = train(aar(pi, objective={"mask_truncated": True}, max_new_tokens=1), [make_prompts(2)])
    assert logged["rollout/truncated"] == 1.0 and not moved(before, pi)
    train(aar(pi, max_new_tokens=1), [make_prompts(2)])
    assert moved(before, pi)


def test_answers_without_any_box_teach_nothing_and_break_nothing(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    pi = policy(adapter=LORA)
    (logged,) = train(
        aar(pi, {"localization": LocalizationReward()}, GroupCredit(), {"c2": 0, "c3": 0}), [make_prompts(2)]
    )
    assert logged["rollout/unparsed"] == 1.0 and logged["reward/localization"] == 0 and logged["policy/grad_norm"] == 0


def test_score_function_pays_the_whole_reward(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    """Reading R8: the advantage is r_LLM's alone, c1 * R log pi carries r_LLM + n(r_loc) + n(r_att)."""
    box = Judged(by_ids)
    box.judged = False
    parts = {"judge": Judged(lambda rollout: torch.full((len(rollout.ids_BT),), 0.5)), "box": box}
    outputs = []
    method = aar(policy(adapter=LORA), parts, GroupCredit(), {"reward_term": "score_function", "c3": 0.0})
    train(method, [make_prompts(2)], outputs)
    batch, scored = outputs[0]["batch"], outputs[0]["scored"]
    torch.testing.assert_close(batch.reward_B, scored.total_B)
    assert batch.mask_BT.any() and (batch.advantages_BT == 0).all() and scored.total_B.unique().numel() > 1


@pytest.mark.parametrize("credit", [GaeCredit(), GroupCredit(scope="span")])
def test_differentiable_runs_with_all_three_rewards_whatever_sizes_the_pictures_have(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable, credit: object
) -> None:
    """A minibatch's own widest picture is narrower than that of the batch."""
    parts = {
        "relevance": Judged(by_ids),
        "localization": LocalizationReward(),
        "vision_relevance": VisionRelevanceReward(),
    }
    settings = {"objective": {"reward_term": "differentiable"}, "num_minibatches": 2, "looking": "answer"}
    method = aar(policy(adapter=LORA), parts, credit, **settings)
    (logged,) = train(method, [make_prompts(2, (56, 56), (112, 112))])
    assert logged["reward/localization"] == 0.0 < logged["reward/vision_relevance"]
    assert logged["policy/skipped"] == 0


def test_the_same_seed_is_the_same_run(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    runs = []
    for noise in (1, 2):
        pi = policy(adapter={**LORA, "lora_dropout": 0.1})
        torch.manual_seed(noise)  # the global state must not matter
        train(aar(pi, num_epochs=2), [make_prompts(2)] * 2)
        runs.append(trained(pi))
    assert all(torch.equal(runs[0][n], runs[1][n]) for n in runs[0])


@pytest.mark.parametrize(("credit", "where"), [(GroupCredit, "reward"), (GaeCredit, "loss")])
def test_kl_is_exactly_zero_at_the_start_of_stage_2_and_then_grows(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    train: Callable,
    tmp_path: Path,
    credit: type,
    where: str,
) -> None:
    """An adapter with dropout, tuned, saved and loaded: it is the reference, not the bare base model."""
    tuned = policy(adapter={**LORA, "lora_dropout": 0.1})
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.3)
    save_adapter(tuned, tmp_path, {})
    method = aar(partial(policy, init_from=str(tmp_path)), credit=credit(), lr=1e-2, kl=Kl(0.1, where=where))
    logged = train(method, [make_prompts(2)] * 3)
    assert logged[0]["policy/kl_ref"] == 0 and logged[0]["policy/kl"] < 1e-9
    assert logged[2]["policy/kl_ref"] > 0 and logged[2]["policy/kl_coef"] == 0.1
    assert all(torch.equal(method.kl.weights[n], v) for n, v in trained(tuned).items() if "lora" in n)
    assert len({id(p) for p in method.policy.core.parameters()}) == len({id(p) for p in tuned.core.parameters()})


@pytest.mark.slow
def test_the_penalty_holds_the_policy_back(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    ends = []
    for coef in (1e-6, 3.0):
        pi = policy(adapter=LORA)
        kl = Kl(coef, where="loss")
        ends.append(train(aar(pi, credit=RlooCredit(), lr=3e-3, kl=kl), [make_prompts(2)] * 8)[-1]["policy/kl_ref"])
    assert ends[1] < ends[0]


@pytest.mark.parametrize("credit", [GroupCredit(), RlooCredit(), ReinforceCredit(baseline="group")])
def test_one_answer_has_nothing_to_be_compared_with(credit: object) -> None:
    alone = {"rewards": TotalReward({"relevance": Judged(by_ids)}, 1, "none"), "objective": ClippedObjective}
    settings = {"seed": 0, "lr": 1e-3, "batch_size": 2, "steps": 1, "num_candidates": 1}
    with pytest.raises(InputError, match="num_candidates=1 with a group's baseline"):
        AbnormalAwareRewarding(lambda **_: None, credit=credit, **alone, **settings)
    AbnormalAwareRewarding(lambda **_: None, credit=ReinforceCredit(), **alone, **settings)


def test_a_reward_paid_to_every_token_cannot_be_split_by_span() -> None:
    span = GroupCredit(scope="span")
    with pytest.raises(InputError, match="credit.scope=span .*score_function .*=credit or differentiable") as error:
        aar(None, credit=span, objective={"reward_term": "score_function"})
    assert "\n" not in str(error.value)
    aar(None, {"look": VisionRelevanceReward()}, span, {"reward_term": "differentiable"})


def test_a_batch_takes_as_many_steps_as_the_schedule_counts(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    """Six queries in four parts, twice."""
    method = aar(policy(adapter={"r": 2}), batch_size=6, num_epochs=2, num_minibatches=4, max_new_tokens=2)
    (logged,) = train(method, [make_prompts(6)])
    assert logged["policy/skipped"] == 0
    assert method.lr_schedulers().last_epoch == method.updates_per_batch == 8


def test_more_minibatches_than_queries_are_refused() -> None:
    with pytest.raises(InputError, match="method.num_minibatches=3 with method.batch_size=2: .*") as error:
        aar(None, batch_size=2, num_minibatches=3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("critic", [SharedCritic, AdapterCritic, SeparateCritic])
def test_pictures_pass_the_frozen_tower_once_and_together_in_a_whole_batch(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable, critic: type
) -> None:
    """Sampled, scored, referred to, valued and updated on four times."""
    pi, prompts, passes = policy(adapter={"r": 4}, critic=critic), make_prompts(3), []
    towers = [m for n, m in pi.named_modules() if n.endswith("model.visual")]
    for tower in towers:
        tower.register_forward_hook(lambda *_: passes.append(1))
    method = aar(pi, kl=Kl(0.1), num_epochs=2, num_minibatches=2, num_candidates=4)
    (logged,) = train(method, [prompts])
    assert logged["policy/kl_ref"] == 0 and len(towers) == (2 if critic is SeparateCritic else 1)
    assert len(passes) == 1


def test_cut_off_answers_leave_before_the_advantages_are_whitened(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable
) -> None:
    pi = policy(adapter=LORA)
    method = aar(pi, objective={"mask_truncated": True}, num_candidates=6)
    sample = method.sampler

    def some_cut_off(*args: object, **kwargs: object) -> Rollout:
        rollout = sample(*args, **kwargs)
        return rollout.updated(truncated_B=torch.arange(len(rollout.ids_BT)) % 3 == 0)

    method.sampler = some_cut_off
    outputs = []
    (logged,) = train(method, [make_prompts(2)], outputs)
    rollout = outputs[0]["batch"]
    assert not rollout.mask_BT[::3].any() and rollout.mask_BT[1::3].any()
    kept = rollout.advantages_BT[rollout.mask_BT]
    assert abs(float(kept.mean())) < 1e-5 and float(kept.std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert logged["rollout/length"] == 5.0  # of all that was said


@pytest.mark.parametrize("critic", [SharedCritic, AdapterCritic, SeparateCritic])
def test_a_warm_up_moves_the_critic_and_nothing_that_steers_by_the_policy(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable, critic: type
) -> None:
    pi = policy(adapter={"r": 4}, critic=critic)
    body, own = (
        [p.detach().clone() for p in ps] for ps in (pi.body(), [*pi.critic.body(), *pi.critic.head.parameters()])
    )
    kl, objective = Kl(1.0, target=0.1, horizon=12), {"entropy_target": 1.0, "c3": 0.01}
    method = aar(pi, critic_warmup=2, kl=kl, objective=objective, lr=1e-2)
    logged = train(method, [make_prompts(2)] * 2)
    assert all(torch.equal(a, b) for a, b in zip(body, pi.body(), strict=True))
    moved_own = [
        not torch.equal(a, b) for a, b in zip(own, [*pi.critic.body(), *pi.critic.head.parameters()], strict=True)
    ]
    assert sum(moved_own) > len(moved_own) / 2
    assert [line["policy/kl_coef"] for line in logged] == [1.0, 1.0] and method.objective.c3 == 0.01


@pytest.mark.parametrize(("warmup", "credit"), [(1, GroupCredit()), (-1, GaeCredit()), (2.5, GaeCredit())])
def test_a_warm_up_that_cannot_be_is_refused(warmup: float, credit: object) -> None:
    with pytest.raises(InputError, match="method.critic_warmup"):
        aar(None, credit=credit, critic_warmup=warmup)
