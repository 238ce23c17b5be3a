"""REINFORCE++: whitened rewards to go."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from umed.methods.credit.reinforce_pp import ReinforceCredit, to_go
from umed.rollout import Rollout


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_rewards_to_go_against_numpy(gamma: float) -> None:
    u = np.random.default_rng(0).normal(size=(3, 5))
    expected = np.array([[sum(gamma ** (k - t) * row[k] for k in range(t, 5)) for t in range(5)] for row in u])
    np.testing.assert_allclose(to_go(torch.tensor(u), gamma), expected, atol=1e-6)


@pytest.mark.parametrize("baseline", ["none", "group"])
def test_advantages_against_numpy(make_rollout: Callable[..., Rollout], baseline: str) -> None:
    rollout = make_rollout(2, 2, [3, 1, 2, 3])
    penalty = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    reward = np.array([1.0, 0.0, np.nan, 2.0])
    done = ReinforceCredit(baseline=baseline)(rollout, torch.tensor(reward), penalty)
    paid = reward - (np.array([0.5, 0.5, 2.0, 2.0]) if baseline == "group" else 0)
    raw = np.zeros((4, 3))
    for b, length in ((0, 3), (1, 1), (3, 3)):
        for t in range(length):
            raw[b, t] = paid[b] - penalty[b, t:length].sum().item()
    valid = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
    expected = np.where(valid, (raw - raw[valid].mean()) / raw[valid].std(), 0)
    np.testing.assert_allclose(done.advantages_BT, expected, atol=1e-5)
    assert done.mask_BT.tolist() == valid.tolist()
