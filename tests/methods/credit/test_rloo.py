"""Leave-one-out baseline."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from umed.methods.credit.rloo import RlooCredit, leave_one_out
from umed.rollout import Rollout

NAN = float("nan")


def test_against_numpy() -> None:
    rewards = np.random.default_rng(0).normal(size=(3, 4))
    rewards[1, 2] = NAN
    expected = np.zeros_like(rewards)
    for q, g in np.ndindex(rewards.shape):
        if not np.isnan(rewards[q, g]):
            expected[q, g] = rewards[q, g] - np.nanmean(np.delete(rewards[q], g))
    np.testing.assert_allclose(leave_one_out(torch.tensor(rewards).flatten(), 4), expected.ravel(), atol=1e-6)


@pytest.mark.parametrize("rewards", [[0.1, 0.1, 0.1], [NAN, NAN, 2.0], [NAN, NAN, NAN]])
def test_nothing_to_compare_is_exactly_zero(rewards: list[float]) -> None:
    assert (leave_one_out(torch.tensor(rewards), 3) == 0).all()


def test_answers_and_penalties(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2, [2, 1, 2, 2])
    penalty = torch.tensor([[0.5, 0.0], [0.0, 9.0], [0.0, 0.0], [0.0, 0.0]])
    done = RlooCredit(c1=2.0)(rollout, torch.tensor([1.0, 0.0, NAN, 1.0]), penalty)
    assert done.advantages_BT.tolist() == [[1.5, 1.5], [-1.5, 0], [0, 0], [0, 0]]  # padding is not charged
    assert not done.mask_BT[2].any()
    torch.testing.assert_close(done.returns_BT, rollout.values_BT * done.mask_BT)
