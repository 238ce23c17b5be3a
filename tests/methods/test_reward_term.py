"""Reading R8 `differentiable` with reading R11b `span`: what leaves the advantage enters by its gradient, once."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.credit.group import GroupCredit
from umed.methods.objective import ClippedObjective, total_weight
from umed.models.policy import Scores
from umed.rewards.base import Reward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward
from umed.rollout import Rollout, TrainingBatch

G, LENGTHS = 3, [5, 4, 5, 3, 5, 4]
RELEVANCE = [0.1, 0.9, 0.4, 0.5, 0.5, 0.8]
LOCALIZATION = [0.2, 0.0, 0.6, 0.3, 0.1, 0.0]


class Fixed(Reward):
    """A reward with given values."""

    def __init__(self, values: list[float], span: str, judged: bool = False, weight: float = 1.0) -> None:
        self.values, self.span, self.judged, self.weight = torch.tensor(values), span, judged, weight
        self.max_normalized = not judged

    def __call__(self, rollout: Rollout) -> Tensor:
        return self.values


class Unbounded(VisionRelevanceReward):
    """Enters equation (13) as it is."""

    max_normalized = False


RELEVANT, LOCAL = Fixed(RELEVANCE, "name", judged=True), Fixed(LOCALIZATION, "boxes", weight=0.5)
TWO: Mapping[str, Reward] = {"relevance": RELEVANT, "localization": LOCAL}
THREE: Mapping[str, Reward] = {**TWO, "vision_relevance": VisionRelevanceReward(weight=0.3)}


def method(parts: Mapping[str, Reward], term: str, scope: str, scale: str = "group") -> AbnormalAwareRewarding:
    return AbnormalAwareRewarding(
        lambda **_: None,
        seed=0,
        rewards=TotalReward(parts, G),
        credit=GroupCredit(scale=scale, scope=scope),
        objective=partial(ClippedObjective, reward_term=term, c2=0.0, c3=0.0),
        num_candidates=G,
        batch_size=2,
        num_minibatches=1,
        lr=1e-3,
        steps=1,
    )


def credited(of: AbnormalAwareRewarding, rollout: Rollout) -> TrainingBatch:
    return of.credited(rollout, of.rewards(rollout), rollout.logp_BT)


@pytest.fixture
def rollout(make_rollout: Callable[..., Rollout]) -> Rollout:
    """Two queries of three answers; token 1 names, tokens 2 and 3 are the box."""
    sampled = make_rollout(2, G, LENGTHS)
    place = torch.arange(5).expand(6, 5)
    return sampled.updated(
        name_span_BT=sampled.mask_BT & (place == 1), box_span_BT=sampled.mask_BT & (place >= 2) & (place <= 3)
    )


def standardized(values: np.ndarray) -> np.ndarray:
    groups = values.reshape(-1, G)
    return ((groups - groups.mean(1, keepdims=True)) / groups.std(1, keepdims=True)).ravel()


def expected_advantages() -> np.ndarray:
    """From the numbers above: the attention is in none of them."""
    loc = np.array(LOCALIZATION).reshape(-1, G)
    loc = 0.5 * (loc / loc.max(1, keepdims=True)).ravel()
    advantages = np.tile(standardized(np.array(RELEVANCE) + loc)[:, None], 5)
    advantages[:, 1], advantages[:, 2:4] = standardized(np.array(RELEVANCE)), standardized(loc)[:, None]
    return advantages * (np.arange(5) < np.array(LENGTHS)[:, None])


def test_the_advantages_of_spans_against_numpy(rollout: Rollout) -> None:
    batch = credited(method(THREE, "differentiable", "span"), rollout)
    np.testing.assert_allclose(batch.advantages_BT, expected_advantages(), atol=1e-5)
    whole = credited(method(THREE, "credit", "span"), rollout).advantages_BT
    assert (whole - batch.advantages_BT)[:, 1].abs().max() > 0.01  # there the attention is credited
    torch.testing.assert_close(whole[:, 2], batch.advantages_BT[:, 2])  # no reward of the box was taken out


@pytest.mark.parametrize("scope", ["answer", "span"])
@pytest.mark.parametrize("parts", [THREE, {"localization": LOCAL, "vision_relevance": VisionRelevanceReward()}])
def test_the_advantages_are_those_without_the_attention_reward(
    rollout: Rollout, scope: str, parts: Mapping[str, Reward]
) -> None:
    """Where none is left that judges the name, its tokens share the sum, as they do with the localization alone."""
    with_attention = credited(method(parts, "differentiable", scope), rollout)
    fewer = {name: part for name, part in parts.items() if name != "vision_relevance"}
    without = credited(method(fewer, "credit", scope), rollout)
    assert torch.equal(with_attention.advantages_BT, without.advantages_BT)
    assert torch.equal(with_attention.mask_BT, without.mask_BT) and with_attention.advantages_BT.abs().sum() > 0


@pytest.mark.parametrize("look", [VisionRelevanceReward(weight=0.3), Unbounded(weight=0.3)])
def test_what_is_taken_out_is_what_enters(rollout: Rollout, look: Reward) -> None:
    """Equation (13) is whole: advantage's part + the term's gain at the sampled attention, and so span by span."""
    aar = method({**TWO, "vision_relevance": look}, "differentiable", "span")
    scored, batch, term = aar.rewards(rollout), credited(aar, rollout), aar.objective.term
    attention = Scores(rollout.logp_BT, rollout.logp_BT, rollout.values_BT, rollout.attention_BNP)
    gain = term.gain(attention, batch, rollout.logp_BT)[:, 0]
    assert gain.min() > 0
    torch.testing.assert_close(term.credited(scored) + gain, scored.total_B)
    spans = term.credited_spans(scored)
    torch.testing.assert_close(spans["name"] + gain, scored.by_span()["name"])
    torch.testing.assert_close(spans["boxes"], scored.by_span()["boxes"])


def test_gradients_reach_the_tokens_of_spans_and_the_attention(rollout: Rollout) -> None:
    aar = method(THREE, "differentiable", "span")
    batch = credited(aar, rollout)
    leaves = {name: getattr(rollout, name).clone().requires_grad_() for name in ("logp_BT", "attention_BNP")}
    newer = Scores(entropy_BT=torch.zeros_like(rollout.logp_BT), values_BT=rollout.values_BT, **leaves)
    tokens = total_weight(batch.mask_BT, "token_mean")
    aar.objective.loss(newer, batch, tokens)[0].backward()
    np.testing.assert_allclose(leaves["logp_BT"].grad, -expected_advantages() / tokens, atol=1e-6)

    again = rollout.attention_BNP.clone().requires_grad_()
    share = VisionRelevanceReward().share(again, rollout)
    best = share.detach().view(-1, G).amax(1).repeat_interleave(G)
    (-0.3 * share / best * torch.tensor(LENGTHS)).sum().div(tokens).backward()
    torch.testing.assert_close(leaves["attention_BNP"].grad, again.grad)
    assert again.grad.abs().max() > 0


def test_equal_answers_get_exactly_nothing_whatever_their_attention(rollout: Rollout) -> None:
    """A difference of sums would leave what rounding made of it."""
    equal = {"relevance": Fixed([0.1] * 6, "name", judged=True), "localization": Fixed([0.7] * 6, "boxes", weight=0.3)}
    aar = method(THREE | equal, "differentiable", "span", scale="none")
    assert (credited(aar, rollout).advantages_BT == 0).all()
