"""Equation (13), readings R6 and R7."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from umed.errors import InputError
from umed.methods.credit.group import GroupCredit
from umed.rewards.base import Reward
from umed.rewards.total import TotalReward, group_max, over_max, zscore
from umed.rollout import Rollout

NAN = float("nan")


class Fixed(Reward):
    """A reward with given values."""

    def __init__(self, *values: float, judged: bool = False, weight: float = 1.0) -> None:
        self.values, self.judged, self.weight = torch.tensor(values), judged, weight
        self.max_normalized = not judged

    def __call__(self, rollout: Rollout) -> Tensor:
        return self.values


def normalized(values: list[float], g: int) -> list[float]:
    x = torch.tensor(values)
    return over_max(x, group_max(x, g)).tolist()


def test_zero_over_zero_is_zero() -> None:
    assert normalized([0.0, 0.0, 0.0], 3) == [0.0, 0.0, 0.0]


def test_the_best_answer_scores_one() -> None:
    assert normalized([0.1, 0.2], 2) == [0.5, 1.0]


def test_two_queries_are_independent() -> None:
    np.testing.assert_allclose(normalized([0.1, 0.2, 0.8, 0.4, 0.0, 0.0], 2), [0.5, 1, 1, 0.5, 0, 0])


def test_what_does_not_apply_stays_so_and_does_not_count() -> None:
    np.testing.assert_allclose(normalized([NAN, 0.2, 0.1, NAN, NAN, NAN], 3), [NAN, 1, 0.5, NAN, NAN, NAN])


@pytest.mark.parametrize("normalize", ["max", "none"])
def test_the_parts_sum_to_the_total(make_rollout: Callable[..., Rollout], normalize: str) -> None:
    parts = {
        "relevance": Fixed(0.5, 0.25, NAN, NAN, judged=True),
        "localization": Fixed(0.1, 0.2, 0.0, NAN),
        "vision_relevance": Fixed(0.0, 0.4, 0.2, NAN, weight=2.0),
    }
    scored = TotalReward(parts, 2, normalize)(make_rollout(2, 2))
    loc, att = ([0.5, 1, 0, NAN], [0, 1, 1, NAN]) if normalize == "max" else ([0.1, 0.2, 0, NAN], [0, 0.4, 0.2, NAN])
    np.testing.assert_allclose(scored.summands["relevance"], [0.5, 0.25, NAN, NAN])  # never normalized (reading R14)
    np.testing.assert_allclose(scored.summands["localization"], loc)
    np.testing.assert_allclose(scored.summands["vision_relevance"], 2 * np.array(att))
    np.testing.assert_allclose(scored.raw["vision_relevance"], [0, 0.4, 0.2, NAN])
    together = np.nansum([v.numpy() for v in scored.summands.values()], 0)
    np.testing.assert_allclose(scored.total_B[:3], together[:3])
    assert scored.total_B[3].isnan()  # nothing applied: NaN, not 0


def test_a_part_that_fails_for_one_answer_only_is_no_zero_in_disguise(make_rollout: Callable[..., Rollout]) -> None:
    parts = {"relevance": Fixed(0.5, NAN, NAN, NAN, judged=True), "localization": Fixed(0.1, 0.2, 0.3, 0.6)}
    total = TotalReward(parts, 2)(make_rollout(2, 2)).total_B
    np.testing.assert_allclose(total, [1.0, NAN, 0.5, 1.0])  # for the second query nobody was judged: the rest decides


def test_a_weight_of_zero_is_the_reward_switched_off(make_rollout: Callable[..., Rollout]) -> None:
    rollout, a = make_rollout(2, 2), Fixed(0.5, 0.25, 0.1, 0.0)
    off = TotalReward({"a": a, "b": Fixed(1, 2, 3, 4, weight=0.0)}, 2)(rollout)
    torch.testing.assert_close(off.total_B, TotalReward({"a": a}, 2)(rollout).total_B)


def test_means_are_raw_and_failures_are_counted(make_rollout: Callable[..., Rollout]) -> None:
    parts = {"relevance": Fixed(0.5, NAN, 0.7, NAN, judged=True), "localization": Fixed(0.1, 0.2, 0.0, 0.0)}
    means = TotalReward(parts, 2)(make_rollout(2, 2)).means()
    assert means["reward/relevance"] == pytest.approx(0.6)
    assert means["reward/localization"] == pytest.approx(0.075)
    assert means["reward/localization_normalized"] == pytest.approx(0.375)
    assert means["rollout/judge_failed"] == 0.5


def test_one_candidate_is_refused_with_one_line() -> None:
    with pytest.raises(InputError, match=r"num_candidates=1.*at least 2") as caught:
        TotalReward({"localization": Fixed(1.0)}, 1)
    assert "\n" not in str(caught.value)
    TotalReward({"localization": Fixed(1.0)}, 1, "none")
    TotalReward({"relevance": Fixed(1.0, judged=True)}, 1)


def test_no_reward_and_literal_without_relevance_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        TotalReward({}, 4)
    with pytest.raises(InputError, match="needs a reward that is judged, such as the relevance reward"):
        TotalReward({"localization": Fixed(1.0)}, 4, advantage_in_reward="literal")


def test_needs_are_the_union() -> None:
    a, b = Fixed(1.0), Fixed(1.0)
    b.needs = frozenset({"attention"})
    assert TotalReward({"a": a, "b": b}, 2).needs == {"text", "attention"}


def test_the_literal_reading_adds_the_advantage_of_relevance_alone(make_rollout: Callable[..., Rollout]) -> None:
    parts = {"relevance": Fixed(0.0, 1.0, 0.3, 0.3, judged=True), "localization": Fixed(0.1, 0.2, 0.0, 0.0)}
    rollout = make_rollout(2, 2)
    plain = TotalReward(parts, 2)(rollout)
    literal = TotalReward(parts, 2, advantage_in_reward="literal", credit=GroupCredit(scale="none"))(rollout)
    np.testing.assert_allclose(literal.total_B - plain.total_B, [-0.5, 0.5, 0, 0], atol=1e-6)
    assert not literal.total_B.requires_grad


def test_the_literal_reading_keeps_unscorable_answers_unscorable(make_rollout: Callable[..., Rollout]) -> None:
    relevance = Fixed(0.5, NAN, 1.0, 0.0, NAN, NAN, judged=True)
    total = TotalReward({"relevance": relevance}, 2, advantage_in_reward="literal")
    found = total(make_rollout(3, 2)).total_B
    assert found.isnan().tolist() == [False, True, False, False, True, True]


def test_zscore_against_numpy() -> None:
    x = np.array([[0.1, 0.2, 0.9], [0.5, 0.5, 0.5], [1.0, NAN, 3.0], [NAN, NAN, 2.0]])
    expected = (x - np.nanmean(x, 1, keepdims=True)) / np.where(np.nanstd(x, 1) > 0, np.nanstd(x, 1), 1)[:, None]
    found = zscore(torch.tensor(x).flatten(), 3).view(4, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found[1] == 0).all()


def test_zscore_keeps_to_its_query() -> None:
    value, order = torch.tensor([1.0, 2.0, NAN, 5.0, 5.0, 5.0, 0.0, 9.0, 1.0]), torch.tensor([2, 0, 1])
    torch.testing.assert_close(
        zscore(value.view(3, 3)[order].flatten(), 3), zscore(value, 3).view(3, 3)[order].flatten(), equal_nan=True
    )


def test_zscore_is_of_each_reward_before_the_sum(make_rollout: Callable[..., Rollout]) -> None:
    """A reward a hundred times larger does not drown the other one."""
    parts = {
        "relevance": Fixed(0.0, 100.0, 50.0, 50.0, judged=True),
        "localization": Fixed(0.2, 0.1, 0.0, 0.4, weight=2.0),
    }
    scored = TotalReward(parts, 2, "zscore")(make_rollout(2, 2))
    np.testing.assert_allclose(scored.total_B, [-1 + 2, 1 - 2, -2, 2], atol=1e-5)


@pytest.mark.parametrize("normalize", ["max", "zscore"])
def test_one_answer_alone_is_refused(normalize: str) -> None:
    with pytest.raises(InputError, match=f"num_candidates=1 with reward.normalize={normalize}"):
        TotalReward({"localization": Fixed(1.0)}, 1, normalize)  # type: ignore[arg-type]


def test_what_nothing_could_score_is_counted(make_rollout: Callable[..., Rollout]) -> None:
    scored = TotalReward({"relevance": Fixed(NAN, NAN, 0.5, 1.0, judged=True)}, 2)(make_rollout(2, 2))
    assert scored.means()["reward/unscored"] == 0.5


def test_one_number_an_answer_is_needed(make_rollout: Callable[..., Rollout]) -> None:
    with pytest.raises(InputError, match=r"reward.parts.mine gave \(3,\) for 4 answers"):
        TotalReward({"mine": Fixed(1.0, 2.0, 3.0)}, 2)(make_rollout(2, 2))


def test_spans_sum_the_rewards_that_judge_them(make_rollout: Callable[..., Rollout]) -> None:
    box, name, other = Fixed(0.0, 1.0), Fixed(5.0, 1.0, judged=True), Fixed(1.0, 1.0, judged=True)
    box.span = "boxes"
    scored = TotalReward({"a": box, "b": name, "c": other}, 2, "none")(make_rollout(1, 2))
    assert {span: value.tolist() for span, value in scored.by_span().items()} == {"boxes": [0, 1], "name": [6, 2]}
    assert scored.sum_of(["b"]).tolist() == [5, 1]
    assert TotalReward({"b": name}, 2)(make_rollout(1, 2)).by_span().keys() == {"name"}


def test_what_is_left_out_leaves_total_and_spans(make_rollout: Callable[..., Rollout]) -> None:
    """The total's NaN stay; a query for which nothing else applied has 0 left."""
    parts = {
        "a": Fixed(0.1, 0.2, NAN, NAN, NAN, 1.0),
        "b": Fixed(5.0, 1.0, 3.0, 4.0, 2.0, 2.0, weight=0.5),
        "c": Fixed(0.3, 0.4, NAN, NAN, 7.0, 7.0),
    }
    parts["c"].span = "boxes"
    scored = TotalReward(parts, 2, "none")(make_rollout(3, 2))
    np.testing.assert_allclose(scored.total_without(["b"]), [0.4, 0.6, 0, 0, NAN, 8.0], rtol=1e-6)
    np.testing.assert_allclose(scored.total_without([]), scored.total_B)
    np.testing.assert_allclose(scored.total_without(["a", "b", "c"]), [0, 0, 0, 0, NAN, 0])
    left = scored.by_span(without=["b"])
    np.testing.assert_allclose(left["name"], [0.1, 0.2, NAN, NAN, NAN, 1.0], rtol=1e-6)
    np.testing.assert_allclose(left["boxes"], scored.by_span()["boxes"])
    assert scored.by_span(without=["a", "b"]).keys() == {"boxes"}


def test_judged_parts_begin_when_the_answers_are_known(make_rollout: Callable[..., Rollout]) -> None:
    """Not the others, and not a reward of a stranger's that knows nothing of it."""
    begun = []

    class Begun(Fixed):
        def begin(self, prompts: object, texts: object) -> None:
            begun.append((self, prompts, texts))

    class Stranger:
        judged, needs, weight, span = True, frozenset({"text"}), 1.0, "name"
        max_normalized = differentiable = gold_ties = False

        def __call__(self, rollout: Rollout) -> Tensor:
            return torch.zeros(4)

    judged, computed = Begun(1, 2, 3, 4, judged=True), Begun(1, 2, 3, 4)
    total, rollout = TotalReward({"a": judged, "b": computed, "c": Stranger()}, 2), make_rollout(2, 2)
    before = total(rollout).total_B
    total.begin(rollout.prompts, rollout.texts)
    assert begun == [(judged, rollout.prompts, rollout.texts)]
    assert torch.equal(total(rollout).total_B, before)
