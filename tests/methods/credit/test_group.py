"""Reading R11 `group`: the answers to one query judge each other."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from umed.errors import InputError
from umed.methods.credit.group import GroupCredit, group_advantage
from umed.rollout import Rollout

NAN = float("nan")


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
def test_against_numpy(scale: str) -> None:
    rewards = np.array([[0.0, 1.0, 2.0], [5.0, 5.5, 4.0]])
    expected = rewards - rewards.mean(1, keepdims=True)
    if scale != "none":
        expected /= rewards.std(1, keepdims=True) if scale == "group" else rewards.std()
    np.testing.assert_allclose(group_advantage(torch.tensor(rewards).flatten(), 3, scale), expected.ravel(), atol=1e-6)


@given(st.floats(-2, 2, width=32), st.integers(2, 9))
@example(0.1, 3)  # the mean of three rounds to another number
def test_a_group_without_spread_gives_exactly_zero(value: float, count: int) -> None:
    others = torch.arange(float(count))
    found = group_advantage(torch.cat([torch.full((count,), value), others]), count, "group")
    assert (found[:count] == 0).all() and (
        found[count:] - (others - others.mean()) / others.std(correction=0)
    ).abs().max() < 1e-5
    for scale in ("none", "batch"):
        found = group_advantage(torch.cat([torch.full((count,), value), others]), count, scale)
        assert (found[:count] == 0).all() and (found[count:] != 0).any()


def test_unscorable_answers_stay_out() -> None:
    found = group_advantage(torch.tensor([1.0, NAN, 3.0, NAN, NAN, NAN, 2.0, NAN, NAN]), 3, "none")
    assert found.tolist() == [-1, 0, 1, 0, 0, 0, 0, 0, 0]
    found = group_advantage(torch.tensor([1.0, NAN, 3.0]), 3, "group")
    np.testing.assert_allclose(found, [-1, 0, 1], atol=1e-6)


def test_every_token_of_an_answer_shares_its_advantage(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2, [3, 1, 4, 2])
    done = GroupCredit(c1=2.0, scale="none")(rollout, torch.tensor([0.0, 1.0, 5.0, NAN]))
    assert done.advantages_BT.tolist() == [[-1, -1, -1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert not done.mask_BT[3].any() and done.mask_BT[:3].sum(1).tolist() == [3, 1, 4]
    torch.testing.assert_close(done.returns_BT, rollout.values_BT * done.mask_BT)  # no value target: no value error


def test_span_credits_each_reward_to_the_tokens_it_judges(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(1, 2, [4, 4])
    box, name = torch.zeros(2, 4, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    box[:, 1], name[:, 2] = True, True
    rollout = rollout.updated(box_span_BT=box, name_span_BT=name)
    spans = {"boxes": torch.tensor([0.0, 1.0]), "name": torch.tensor([5.0, 1.0])}
    done = GroupCredit(scale="none", scope="span")(rollout, spans["boxes"] + spans["name"], spans=spans)
    assert done.advantages_BT.tolist() == [[1.5, -0.5, 2.0, 1.5], [-1.5, 0.5, -2.0, -1.5]]
    whole = GroupCredit(scale="none")(rollout, spans["boxes"] + spans["name"], spans=spans)
    assert whole.advantages_BT.tolist() == [[1.5] * 4, [-1.5] * 4]


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(InputError, match="scope"):
        GroupCredit(scope="word")  # type: ignore[arg-type]


def test_a_batch_with_one_value_gives_exactly_zero() -> None:
    assert (group_advantage(torch.tensor([0.3] * 6), 3, "batch") == 0).all()
    found = group_advantage(torch.tensor([0.0, 1.0, NAN, NAN]), 2, "batch")
    np.testing.assert_allclose(found, [-1, 1, 0, 0], atol=1e-6)


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(InputError, match="credit.scale"):
        GroupCredit(scale="std")  # type: ignore[arg-type]


def test_the_penalty_lowers_an_answers_own_reward(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(1, 2, [2, 2])
    penalty = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    done = GroupCredit(scale="none")(rollout, torch.tensor([1.0, 1.0]), penalty)
    assert done.advantages_BT.tolist() == [[-0.5, -0.5], [0.5, 0.5]]
