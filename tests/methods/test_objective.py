"""Equations (8)-(11) and the loss (16), readings R8, R9 and R18."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from umed.chat import Prompt
from umed.errors import InputError
from umed.methods.credit.group import GroupCredit
from umed.methods.kl import Kl, k3
from umed.methods.objective import (
    ClippedObjective,
    clipped_surrogate,
    clipped_value_error,
    token_weights,
    total_weight,
)
from umed.models.policy import Policy, Scores
from umed.rewards.base import Reward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward
from umed.rollout import Rollout

RNG = torch.Generator().manual_seed(0)


def scores(rollout: Rollout, shift: float = 0.3, seed: int = 5) -> Scores:
    """What a slightly newer policy would say; every leaf wants a gradient."""
    rng = torch.Generator().manual_seed(seed)
    shape = rollout.logp_BT.shape
    return Scores(
        (rollout.logp_BT + shift * torch.randn(shape, generator=rng)).requires_grad_(),
        torch.rand(shape, generator=rng).requires_grad_(),
        (rollout.values_BT + shift * torch.randn(shape, generator=rng)).requires_grad_(),
        rollout.attention_BNP.clone().requires_grad_(),
    )


def loss_of(of: ClippedObjective, said: Scores, rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
    return of.loss(said, rollout, total_weight(rollout.mask_BT, of.aggregation))


class Fixed(Reward):
    """A reward with given values."""

    max_normalized = False

    def __init__(self, *values: float, judged: bool = False) -> None:
        self.values, self.judged = torch.tensor(values), judged

    def __call__(self, rollout: Rollout) -> Tensor:
        return self.values


JUDGED = {"judge": Fixed(0.1, 0.2, judged=True)}


def objective(parts: dict[str, Reward] | None = None, kl: Kl | None = None, **settings: object) -> ClippedObjective:
    return ClippedObjective(TotalReward(parts or JUDGED, 2), kl or Kl(), **settings)


def test_the_surrogate_against_numpy() -> None:
    logp, old, advantage = (torch.randn(50, generator=RNG) for _ in range(3))
    ratio, a = np.exp((logp - old).numpy()), advantage.numpy()
    expected = np.minimum(ratio * a, np.clip(ratio, 0.8, 1.2) * a)
    np.testing.assert_allclose(clipped_surrogate(logp, old, advantage, 0.2), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.3, 1.0, False), (1.3, -1.0, True), (0.7, 1.0, True), (0.7, -1.0, False), (1.1, 1.0, True)],
)
def test_a_clipped_token_gets_no_gradient(ratio: float, advantage: float, moves: bool) -> None:
    logp = torch.tensor([float(np.log(ratio))], requires_grad=True)
    clipped_surrogate(logp, torch.zeros(1), torch.tensor([advantage]), 0.2).sum().backward()
    assert bool(logp.grad.abs() > 0) == moves


def test_the_value_error_takes_the_larger_one() -> None:
    values, old, target = (torch.randn(50, generator=RNG) for _ in range(3))
    v, o, t = values.numpy(), old.numpy(), target.numpy()
    expected = np.maximum((v - t) ** 2, (o + np.clip(v - o, -0.2, 0.2) - t) ** 2)
    np.testing.assert_allclose(clipped_value_error(values, old, target, 0.2), expected, rtol=1e-5)


def test_the_loss_is_equation_16(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2)
    said = scores(rollout)
    loss, parts = loss_of(objective(c2=0.5, c3=0.01), said, rollout)
    clip, value, spread, count = 0.0, 0.0, 0.0, 0
    for b, t in rollout.mask_BT.nonzero().tolist():
        ratio = float((said.logp_BT.detach()[b, t] - rollout.logp_BT[b, t]).exp())
        a = float(rollout.advantages_BT[b, t])
        clip += min(ratio * a, min(max(ratio, 0.8), 1.2) * a)
        old, new, target = (float(x.detach()[b, t]) for x in (rollout.values_BT, said.values_BT, rollout.returns_BT))
        near = old + min(max(new - old, -0.2), 0.2)
        value += max((new - target) ** 2, (near - target) ** 2)
        spread += float(said.entropy_BT.detach()[b, t])
        count += 1
    assert float(loss.detach()) == pytest.approx((-clip + 0.5 * value - 0.01 * spread) / count, rel=1e-5)
    assert float(parts["policy/clip"]) == pytest.approx(-clip / count, rel=1e-4, abs=1e-6)
    assert float(parts["policy/value_loss"]) == pytest.approx(value / count, rel=1e-5)
    assert float(parts["policy/entropy"]) == pytest.approx(spread / count, rel=1e-5)


def test_the_loss_is_in_fp32_under_autocast(make_rollout: Callable[..., Rollout]) -> None:
    """With every term in it, bit by bit what it is outside."""
    rollout = make_rollout(3, 2, maxima={"look": torch.full((6,), 0.5)})
    of = objective({"look": VisionRelevanceReward()}, Kl(0.1, where="loss"), reward_term="differentiable")
    losses = []
    for on in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            loss, parts = loss_of(of, scores(rollout), rollout)
        losses.append(torch.stack([loss.detach(), *parts.values()]))
    assert losses[0].dtype == torch.float32 and torch.equal(*losses)


def test_one_step_lowers_the_value_error_and_raises_the_entropy(make_rollout: Callable[..., Rollout]) -> None:
    """Reading R9: equation (11) copied as a loss would do the opposite."""
    rollout = make_rollout(2, 2)
    said = scores(rollout)
    loss, parts = loss_of(objective(value_clip=10.0), said, rollout)
    loss.backward()
    stepped = Scores(*(x.detach() - 0.1 * x.grad if x.grad is not None else x for x in vars(said).values()))
    after = loss_of(objective(value_clip=10.0), stepped, rollout)[1]
    assert after["policy/value_loss"] < parts["policy/value_loss"]
    assert after["policy/entropy"] > parts["policy/entropy"]
    assert after["policy/clip"] < parts["policy/clip"]


def test_a_larger_c3_ends_with_more_entropy(make_rollout: Callable[..., Rollout]) -> None:
    """Gradient descent on the logits of a free distribution, with one token favored."""

    def entropy_after(c3: float) -> float:
        rollout = make_rollout(1, 2, [1, 1], logp_BT=torch.log(torch.full((2, 1), 0.25)))
        rollout = rollout.updated(advantages_BT=torch.ones(2, 1))
        logits = torch.zeros(2, 1, 4, requires_grad=True)
        optimizer = torch.optim.SGD([logits], lr=1.0)
        for _ in range(20):
            logp = logits.log_softmax(-1)
            said = Scores(logp[..., 0], -(logp.exp() * logp).sum(-1), rollout.values_BT, torch.zeros(2, 0, 0))
            optimizer.zero_grad()
            loss_of(objective(clip_eps=10.0, c3=c3), said, rollout)[0].backward()
            optimizer.step()
        logp = logits.detach().log_softmax(-1)
        return float(-(logp.exp() * logp).sum(-1).mean())

    assert entropy_after(0.0) + 0.1 < entropy_after(1.0)


def test_at_ratio_one_the_gradient_is_reinforce_with_baseline(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 3)
    said = scores(rollout, shift=0.0)
    loss, parts = loss_of(objective(c2=0.0, c3=0.0), said, rollout)
    loss.backward()
    mask = rollout.mask_BT
    torch.testing.assert_close(said.logp_BT.grad, -rollout.advantages_BT * mask / mask.sum())
    assert parts["policy/kl"] == 0 and parts["policy/clipfrac"] == 0


def test_kl_is_never_negative_and_clipfrac_counts(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 3)
    said = scores(rollout)
    parts = loss_of(objective(), said, rollout)[1]
    ratio = (said.logp_BT.detach() - rollout.logp_BT).exp()[rollout.mask_BT]
    assert float(parts["policy/clipfrac"]) == pytest.approx(float(((ratio < 0.8) | (ratio > 1.2)).float().mean()))
    assert parts["policy/kl"] > 0
    assert float(parts["policy/kl"]) == pytest.approx(float((ratio - 1 - ratio.log()).mean()), rel=1e-4)


@pytest.mark.parametrize(("high", "dual"), [(None, None), (0.4, None), (None, 3.0), (0.28, 2.0)])
def test_asymmetric_and_dual_clip_against_numpy(high: float | None, dual: float | None) -> None:
    logp, old, advantage = (2 * torch.randn(200, generator=RNG) for _ in range(3))
    ratio, a = np.exp((logp - old).numpy()), advantage.numpy()
    expected = np.minimum(ratio * a, np.clip(ratio, 0.8, 1 + (high or 0.2)) * a)
    if dual:
        expected = np.where(a < 0, np.maximum(expected, dual * a), expected)
    np.testing.assert_allclose(clipped_surrogate(logp, old, advantage, 0.2, high, dual), expected, rtol=1e-4)


@pytest.mark.parametrize("wrong", [{"dual_clip": 1.0}, {"dual_clip": 0.5}, {"clip_eps_high": 0.0}])
def test_a_clip_that_would_clip_everything_is_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"objective.{next(iter(wrong))}"):
        objective(**wrong)


def test_truncated_answers_leave_the_loss_only_when_asked(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2)
    rollout = rollout.updated(truncated_B=torch.tensor([True, False, False, True]))
    assert torch.equal(objective().without_truncated(rollout).mask_BT, rollout.mask_BT)
    kept = objective(mask_truncated=True).without_truncated(rollout)
    assert not kept.mask_BT[[0, 3]].any() and torch.equal(kept.mask_BT[[1, 2]], rollout.mask_BT[[1, 2]])
    all_cut = rollout.updated(truncated_B=torch.ones(4, dtype=torch.bool))
    nothing = objective(mask_truncated=True).without_truncated(all_cut)
    said = scores(rollout)
    loss, _ = loss_of(objective(), said, nothing)
    loss.backward()
    assert float(loss.detach()) == 0 and said.logp_BT.grad.isfinite().all() and (said.logp_BT.grad == 0).all()


def test_the_entropy_bonus_follows_its_target() -> None:
    steered = objective(c3=0.01, entropy_target=1.0, c3_step=0.004, c3_max=0.015)
    seen = [steered.steer(e, stepped=True)["policy/c3"] for e in (0.5, 0.5, 2.0, 2.0, 2.0, 2.0, 2.0)]
    steered.steer(float("nan"), stepped=True)  # nothing measured
    steered.steer(0.5, stepped=False)
    np.testing.assert_allclose(seen, [0.01, 0.014, 0.015, 0.011, 0.007, 0.003, 0.0], atol=1e-9)
    other = objective(entropy_target=1.0)
    other.load(steered.state())
    assert other.c3 == steered.c3
    assert objective(c3=0.01).steer(0.5, stepped=True) == {}


@pytest.mark.parametrize("aggregation", ["token_mean", "seq_mean", "constant"])
def test_the_kl_in_the_loss_is_weighed_like_the_rest(make_rollout: Callable[..., Rollout], aggregation: str) -> None:
    rollout = make_rollout(2, 2)
    said = scores(rollout)
    kls = (Kl(), Kl(0.3, where="loss"))
    without, with_kl = (objective(kl=kl, aggregation=aggregation, max_length=10) for kl in kls)
    weights = token_weights(rollout.mask_BT, aggregation, 10) / total_weight(rollout.mask_BT, aggregation)
    expected = 0.3 * (k3(said.logp_BT, rollout.ref_logp_BT) * weights).sum()
    found = loss_of(with_kl, said, rollout)[0] - loss_of(without, said, rollout)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


# ---- R18: what E_t means, on two answers of 1 and 3 tokens


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("token_mean", [[1 / 4, 0, 0], [1 / 4, 1 / 4, 1 / 4]]),
        ("seq_mean", [[1 / 2, 0, 0], [1 / 6, 1 / 6, 1 / 6]]),
        ("constant", [[1 / 20, 0, 0], [1 / 20, 1 / 20, 1 / 20]]),
    ],
)
def test_three_aggregations_by_hand(aggregation: str, expected: list[list[float]]) -> None:
    mask = torch.tensor([[True, False, False], [True, True, True]])
    weights = token_weights(mask, aggregation, 10) / total_weight(mask, aggregation)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@pytest.mark.parametrize("aggregation", ["token_mean", "seq_mean", "constant"])
@pytest.mark.parametrize("queries_each", [1, 2, 4])
def test_loss_and_gradient_do_not_depend_on_micro_batches(
    make_rollout: Callable[..., Rollout], aggregation: str, queries_each: int
) -> None:
    rollout = make_rollout(8, 2, [1, 6, 2, 5, 4, 4, 3, 1, 6, 6, 1, 1, 2, 3, 5, 4])
    options = {"aggregation": aggregation, "max_length": 10, "clip_eps_high": 0.3, "dual_clip": 2.0}
    clipped = objective(kl=Kl(0.2, "k1", "loss"), **options)
    said = scores(rollout)
    expected, expected_parts = loss_of(clipped, said, rollout)
    gradients = torch.autograd.grad(expected, [said.logp_BT, said.entropy_BT, said.values_BT])

    weight = total_weight(rollout.mask_BT, aggregation)
    again = scores(rollout)
    found, parts = torch.zeros(()), dict.fromkeys(expected_parts, torch.zeros(()))
    for few in torch.arange(8).split(queries_each):
        rows = torch.cat([few * 2, few * 2 + 1]).sort().values
        part = Scores(*(x[rows] for x in vars(again).values()))
        loss, some = clipped.loss(part, rollout.take(few), weight, total_weight(rollout.mask_BT, "token_mean"))
        loss.backward()
        found = found + loss.detach()
        parts = {name: parts[name] + some[name] for name in parts}
    torch.testing.assert_close(found, expected.detach(), atol=1e-6, rtol=1e-5)
    for leaf, gradient in zip((again.logp_BT, again.entropy_BT, again.values_BT), gradients, strict=True):
        torch.testing.assert_close(leaf.grad, gradient, atol=1e-7, rtol=1e-5)
    for name in parts:
        torch.testing.assert_close(parts[name], expected_parts[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("aggregation", ["token_mean", "seq_mean", "constant"])
def test_an_all_masked_batch_costs_nothing(make_rollout: Callable[..., Rollout], aggregation: str) -> None:
    rollout = make_rollout(2, 2)
    rollout = rollout.updated(mask_BT=torch.zeros_like(rollout.mask_BT))
    said = scores(rollout)
    loss, parts = loss_of(objective(aggregation=aggregation), said, rollout)
    loss.backward()
    assert loss == 0 and all(float(v) == 0 for v in parts.values())
    assert all((g == 0).all() for g in (said.logp_BT.grad, said.entropy_BT.grad, said.values_BT.grad))


def test_what_stands_beyond_the_mask_does_not_matter(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2, [1, 4, 2, 3])
    said = scores(rollout)
    wild = Scores(*(x.detach().clone() for x in vars(said).values()))
    for x in (wild.logp_BT, wild.entropy_BT, wild.values_BT):
        x[~rollout.mask_BT] = 1e4
    torch.testing.assert_close(loss_of(objective(), wild, rollout)[0], loss_of(objective(), said, rollout)[0])


# ---- R8: how c1 * r_t enters


class Looked(VisionRelevanceReward):
    """The attention reward, with given values where it is sampled."""

    max_normalized = False

    def __call__(self, rollout: Rollout) -> Tensor:
        return torch.tensor([10.0, 20.0])


THREE = {"judge": Fixed(0.1, 0.2, judged=True), "box": Fixed(1.0, 2.0), "look": Looked()}


@pytest.mark.parametrize(
    ("term", "expected"), [("credit", [11.1, 22.2]), ("score_function", [0.1, 0.2]), ("differentiable", [1.1, 2.2])]
)
def test_what_enters_through_the_advantage(
    make_rollout: Callable[..., Rollout], term: str, expected: list[float]
) -> None:
    scored = TotalReward(THREE, 2)(make_rollout(1, 2))
    found = objective(THREE, reward_term=term).term.credited(scored)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(("term", "missing"), [("score_function", "judged"), ("differentiable", "differentiable")])
def test_a_reading_without_its_reward_is_refused(term: str, missing: str) -> None:
    with pytest.raises(InputError, match=f"reward_term={term} needs a reward that is {missing}, such as the"):
        objective({"box": Fixed(1.0, 2.0)}, reward_term=term)


def test_differentiable_needs_the_papers_normalization() -> None:
    with pytest.raises(InputError, match="reward.normalize=none does not"):
        ClippedObjective(TotalReward(THREE, 2, "none"), Kl(), reward_term="differentiable")


def test_a_sampled_reward_added_to_the_loss_has_no_gradient(make_rollout: Callable[..., Rollout]) -> None:
    """The trap of reading R8: equation (11) as it is printed."""
    rollout = make_rollout(1, 2)
    said = scores(rollout)
    plain = torch.autograd.grad(loss_of(objective(), said, rollout)[0], said.logp_BT)[0]
    printed = loss_of(objective(), said, rollout)[0] - 1.0 * torch.tensor([0.3, 0.9]).mean()
    assert torch.equal(torch.autograd.grad(printed, said.logp_BT)[0], plain)


def test_credit_gradients_follow_the_reward(make_rollout: Callable[..., Rollout]) -> None:
    rollout, grads = make_rollout(1, 2), []
    for reward in ([0.0, 1.0], [1.0, 0.0]):
        credit = GroupCredit()(rollout, torch.tensor(reward))
        part = rollout.updated(advantages_BT=credit.advantages_BT, returns_BT=credit.returns_BT)
        said = scores(part)
        loss_of(objective(), said, part)[0].backward()
        grads.append(said.logp_BT.grad)
    assert (grads[0] - grads[1]).abs().max() > 0.01


@pytest.mark.parametrize("c1", [1.0, 3.0])
def test_score_function_is_c1_r_grad_log_pi(make_rollout: Callable[..., Rollout], c1: float) -> None:
    """A policy of two tokens: the gradient on its logits is c1 * R * (one-hot - pi)."""
    rollout = make_rollout(1, 2, [1, 1], reward_B=torch.tensor([0.7, -0.2]))
    rollout = rollout.updated(advantages_BT=torch.zeros(2, 1))
    logits = torch.tensor([[0.4, -0.3], [0.4, -0.3]], requires_grad=True)
    chosen = torch.tensor([0, 1])
    logp = logits.log_softmax(-1).gather(1, chosen[:, None])
    said = Scores(logp, torch.zeros(2, 1), rollout.values_BT, torch.zeros(2, 0, 0))
    loss_of(objective(reward_term="score_function", c1=c1, c2=0.0, c3=0.0), said, rollout)[0].backward()
    one_hot = torch.nn.functional.one_hot(chosen, 2)
    expected = -c1 * rollout.reward_B[:, None] * (one_hot - logits.detach().softmax(-1)) / 2
    torch.testing.assert_close(logits.grad, expected)


def test_differentiable_reaches_the_attention_when_all_advantages_are_zero(
    make_rollout: Callable[..., Rollout],
) -> None:
    rollout = make_rollout(1, 2)
    reward = VisionRelevanceReward()
    best = reward(rollout).max().expand(2)
    rollout = rollout.updated(advantages_BT=torch.zeros_like(rollout.advantages_BT), maxima={"look": best})
    looking = objective({"look": reward}, reward_term="differentiable", c1=2.0, c2=0.0, c3=0.0)
    said = scores(rollout, shift=0.0)
    loss, _ = loss_of(looking, said, rollout)
    lengths = rollout.mask_BT.sum(1)
    expected = -2.0 * (reward(rollout) / best * lengths).sum() / lengths.sum()
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    assert said.attention_BNP.grad.abs().sum() > 0
    assert (said.logp_BT.grad == 0).all()


def test_differentiable_with_no_attention_at_all_adds_nothing(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(1, 2, maxima={"look": torch.zeros(2)})
    said = scores(rollout)
    parts = THREE | {"look": VisionRelevanceReward()}
    loss, _ = loss_of(objective(parts, reward_term="differentiable"), said, rollout)
    torch.testing.assert_close(loss, loss_of(objective(), said, rollout)[0])
    loss.backward()
    assert said.attention_BNP.grad.isfinite().all()


def test_differentiable_trains_the_attention_weights_of_a_policy(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], make_rollout: Callable[..., Rollout]
) -> None:
    pi, rollout = policy(), make_rollout(2, 2)
    regions = torch.nn.utils.rnn.pad_sequence([p.region for p in rollout.prompts for _ in range(2)], True, torch.nan)
    rollout = replace(
        rollout,
        region_BP=regions,
        advantages_BT=torch.zeros_like(rollout.advantages_BT),
        maxima={"look": torch.ones(4)},
        name_BN=torch.tensor([[1], [1], [1], [-1]]),
    )
    gradients = []
    for term in ("credit", "differentiable"):
        pi.zero_grad()
        term_loss = objective(THREE, reward_term=term, c2=0.0, c3=0.0)
        term_loss(pi, rollout, total_weight(rollout.mask_BT, "token_mean"))[0].backward()
        gradients.append(pi.core.model.language_model.layers[0].self_attn.q_proj.weight.grad.abs().sum())
    assert gradients[0] == 0 and gradients[1] > 1e-4


@pytest.mark.parametrize("denominator", ["image", "all_keys"])
def test_the_differentiable_term_of_an_answer_does_not_depend_on_the_pictures_beside_it(
    make_rollout: Callable[..., Rollout], denominator: str
) -> None:
    """Padding carries no attention and no region: pictures of 6, 3 and 2 tokens, alone and together."""
    widths = torch.tensor([6, 3, 2]).repeat_interleave(2)
    rollout = make_rollout(3, 2, maxima={"look": torch.full((6,), 0.5)})
    outside = torch.arange(6) >= widths[:, None]
    rollout = rollout.updated(
        region_BP=rollout.region_BP.masked_fill(outside, torch.nan),
        attention_BNP=rollout.attention_BNP.masked_fill(outside[:, None], 0.0),
    )
    reward = VisionRelevanceReward(denominator, lift=True)
    term = objective({"look": reward}, reward_term="differentiable").term
    together = term.gain(scores(rollout), rollout, rollout.logp_BT)
    torch.testing.assert_close(together[:, 0], 2.0 * reward(rollout))
    for queries in ([0], [1], [2], [2, 1]):
        part = rollout.take(queries)
        said = scores(part)
        said.attention_BNP = part.attention_BNP[..., : max(widths[2 * q] for q in queries)].requires_grad_()
        alone = term.gain(said, part, part.logp_BT)
        rows = [2 * q + g for q in queries for g in range(2)]
        torch.testing.assert_close(alone, together[rows])
        alone.sum().backward()
        assert said.attention_BNP.grad.abs().sum() > 0


@pytest.mark.parametrize("aggregation", ["token_mean", "seq_mean", "constant"])
def test_entropy_kl_and_clipped_share_are_means_a_token(make_rollout: Callable[..., Rollout], aggregation: str) -> None:
    rollout = make_rollout(2, 2, [1, 5, 2, 4])
    said = scores(rollout)
    parts = loss_of(objective(aggregation=aggregation, max_length=50), said, rollout)[1]
    mask = rollout.mask_BT
    torch.testing.assert_close(parts["policy/entropy"], said.entropy_BT.detach()[mask].mean())
    log_ratio = (said.logp_BT.detach() - rollout.logp_BT)[mask]
    torch.testing.assert_close(parts["policy/kl"], (log_ratio.exp() - 1 - log_ratio).mean())
