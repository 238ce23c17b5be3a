"""Equations (14) and (15), against a numpy loop written from the paper's lines."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from umed.methods.credit.base import masked_mean, paid_at_last, whitened
from umed.methods.credit.gae import GaeCredit, explained_variance, gae
from umed.methods.kl import Kl
from umed.rollout import Rollout

MASK = torch.arange(5) < torch.tensor([5, 3, 1, 4])[:, None]
VALUES = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
REWARD = torch.tensor([1.0, -0.5, 2.0, 0.25])


def numpy_gae(reward: float, values: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """One answer, valid tokens only."""
    advantages, after, carried = np.zeros(len(values)), 0.0, 0.0
    for t in reversed(range(len(values))):
        u = reward if t == len(values) - 1 else 0.0
        carried = u + gamma * after - values[t] + gamma * lam * carried
        advantages[t], after = carried, values[t]
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 0.0), (0.99, 1.0)])
def test_against_the_numpy_loop(gamma: float, lam: float) -> None:
    advantages, returns = gae(paid_at_last(REWARD, MASK), VALUES, MASK, gamma, lam)
    for b, length in enumerate(MASK.sum(1).tolist()):
        expected = numpy_gae(float(REWARD[b]), VALUES[b, :length].numpy(), gamma, lam)
        np.testing.assert_allclose(advantages[b, :length], expected, atol=1e-5)
        np.testing.assert_allclose(returns[b, :length], expected + VALUES[b, :length].numpy(), atol=1e-5)
    assert (advantages[~MASK] == 0).all() and (returns[~MASK] == 0).all()


def test_gamma_and_lambda_of_one_make_every_return_the_final_reward() -> None:
    _, returns = gae(paid_at_last(REWARD, MASK), VALUES, MASK, 1.0, 1.0)
    torch.testing.assert_close(returns, REWARD[:, None] * MASK, atol=1e-5, rtol=0)


def test_lambda_of_zero_is_the_bellman_form() -> None:
    u = paid_at_last(REWARD, MASK)
    advantages, returns = gae(u, VALUES, MASK, 0.9, 0.0)
    after = torch.cat([(VALUES * MASK)[:, 1:], torch.zeros(4, 1)], 1)
    torch.testing.assert_close(returns, (u + 0.9 * after) * MASK)
    torch.testing.assert_close(advantages, (u + 0.9 * after - VALUES) * MASK)


def test_the_reward_is_paid_at_the_last_valid_token() -> None:
    u = paid_at_last(REWARD, MASK)
    assert u.nonzero().tolist() == [[0, 4], [1, 2], [2, 0], [3, 3]]  # an answer of one token (EOS alone) is paid too
    assert u[0, 4] == 1.0 and u[2, 0] == 2.0
    assert (paid_at_last(REWARD, torch.zeros_like(MASK)) == 0).all()


def test_whitening_is_over_valid_tokens_only() -> None:
    x = VALUES.clone()
    x[~MASK] = 1e6
    valid = VALUES[MASK].numpy()
    np.testing.assert_allclose(whitened(x, MASK)[MASK], (valid - valid.mean()) / valid.std(), atol=1e-5)
    assert (whitened(x, MASK)[~MASK] == 0).all()
    assert float(masked_mean(x, MASK)) == pytest.approx(valid.mean(), abs=1e-5)


def test_constant_advantages_become_zero_and_an_empty_mask_stays_finite() -> None:
    assert (whitened(torch.full((4, 5), 0.1), MASK) == 0).all()
    assert (whitened(VALUES, torch.zeros_like(MASK)) == 0).all()


def test_constant_rewards_move_nothing(make_rollout: Callable[..., Rollout]) -> None:
    """With V = the constant and gamma = lambda = 1 every advantage is the same."""
    rollout = make_rollout(2, 2)
    rollout = rollout.updated(values_BT=torch.zeros_like(rollout.values_BT))
    done = GaeCredit(gae_lambda=1.0)(rollout, torch.full((4,), 0.7))
    assert (done.advantages_BT == 0).all()
    torch.testing.assert_close(done.returns_BT, 0.7 * rollout.mask_BT)


def test_the_value_target_is_not_whitened(make_rollout: Callable[..., Rollout]) -> None:
    rollout, reward = make_rollout(2, 2), torch.tensor([0.0, 1.0, 2.0, 3.0])
    raw, white = (GaeCredit(whiten=w)(rollout, reward) for w in (False, True))
    torch.testing.assert_close(raw.returns_BT, white.returns_BT)
    advantages = white.advantages_BT[white.mask_BT]
    assert float(advantages.mean()) == pytest.approx(0, abs=1e-5)
    assert float(advantages.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_c1_scales_the_reward(make_rollout: Callable[..., Rollout]) -> None:
    rollout, reward = make_rollout(2, 2), torch.tensor([0.0, 1.0, 2.0, 3.0])
    twice, scaled = GaeCredit(whiten=False)(rollout, 2 * reward), GaeCredit(whiten=False, c1=2.0)(rollout, reward)
    torch.testing.assert_close(twice.returns_BT, scaled.returns_BT)
    assert not torch.equal(scaled.returns_BT, GaeCredit(whiten=False)(rollout, reward).returns_BT)


def test_the_kl_penalty_is_paid_per_token(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(1, 2)
    penalty = Kl(0.1).penalty(rollout, rollout.ref_logp_BT)
    done = GaeCredit(gamma=1.0, gae_lambda=1.0, whiten=False)(rollout, torch.zeros(2), penalty)
    ratio = (rollout.ref_logp_BT - rollout.logp_BT).exp()
    kl = (ratio - 1 - ratio.log()) * rollout.mask_BT  # k3, reading R15
    assert (kl >= 0).all() and kl.sum() > 0
    expected = -0.1 * kl.flip(1).cumsum(1).flip(1) * rollout.mask_BT
    torch.testing.assert_close(done.returns_BT, expected, atol=1e-5, rtol=0)


def test_an_unscorable_answer_moves_nothing_and_touches_nobody(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2, [3, 4, 5, 2])
    done = GaeCredit()(rollout, torch.tensor([1.0, torch.nan, 0.0, 2.0]))
    assert not done.mask_BT[1].any() and (done.advantages_BT[1] == 0).all() and (done.returns_BT[1] == 0).all()
    assert done.advantages_BT.isfinite().all()
    assert torch.equal(done.mask_BT[[0, 2, 3]], rollout.mask_BT[[0, 2, 3]])
    without = GaeCredit(whiten=False)(rollout, torch.tensor([1.0, 0.0, 0.0, 2.0]))
    raw = GaeCredit(whiten=False)(rollout, torch.tensor([1.0, torch.nan, 0.0, 2.0]))
    torch.testing.assert_close(raw.advantages_BT[[0, 2, 3]], without.advantages_BT[[0, 2, 3]])
    assert float(done.advantages_BT[done.mask_BT].mean()) == pytest.approx(0, abs=1e-6)


def test_explained_variance(make_rollout: Callable[..., Rollout]) -> None:
    batch = make_rollout(2, 2)
    returns = batch.returns_BT
    assert explained_variance(batch.updated(values_BT=returns)) == pytest.approx(1)
    assert explained_variance(batch.updated(values_BT=torch.zeros_like(returns))) == pytest.approx(0, abs=1e-6)
    assert explained_variance(batch.updated(values_BT=-returns)) < 0
    assert explained_variance(batch.updated(mask_BT=torch.zeros_like(batch.mask_BT))) == 0.0
