"""KL to the policy of the start (reading R15)."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from umed.errors import InputError
from umed.methods.kl import Kl, k1, k2, k3
from umed.rollout import Rollout


def test_the_estimates_against_the_divergence() -> None:
    """k1 and k3 have the divergence as their mean over the policy; k3 is never negative; k2's gradient is its own."""
    rng = torch.Generator().manual_seed(0)
    logits, ref = (torch.randn(6, generator=rng, dtype=torch.float64) for _ in range(2))
    logits.requires_grad_()
    logp, ref_logp = logits.log_softmax(0), ref.log_softmax(0)
    divergence = (logp.exp() * (logp - ref_logp)).sum()
    weights = logp.exp().detach()
    for estimate in (k1, k3):
        torch.testing.assert_close((weights * estimate(logp, ref_logp)).sum(), divergence)
    assert (k3(logp, ref_logp) >= 0).all() and (k1(logp, ref_logp) < 0).any()
    (true,) = torch.autograd.grad(divergence, logits, retain_graph=True)
    (of_k2,) = torch.autograd.grad((weights * k2(logp, ref_logp)).sum(), logits, retain_graph=True)
    torch.testing.assert_close(of_k2, true)
    through = Kl(1.0, "k1", "loss").loss(logp, ref_logp)
    torch.testing.assert_close(through.detach(), k1(logp, ref_logp).detach())
    torch.testing.assert_close(torch.autograd.grad((weights * through).sum(), logits)[0], true)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_penalty_is_in_the_reward_or_in_the_loss(make_rollout: Callable[..., Rollout], estimator: str) -> None:
    rollout = make_rollout(1, 2)
    expected = {"k1": k1, "k2": k2, "k3": k3}[estimator](rollout.logp_BT, rollout.ref_logp_BT)
    paid, lost = Kl(0.3, estimator, "reward"), Kl(0.3, estimator, "loss")
    torch.testing.assert_close(paid.penalty(rollout, rollout.ref_logp_BT), 0.3 * expected * rollout.mask_BT)
    assert (paid.loss(rollout.logp_BT, rollout.ref_logp_BT) == 0).all()
    assert (lost.penalty(rollout, rollout.ref_logp_BT) == 0).all()
    torch.testing.assert_close(lost.loss(rollout.logp_BT, rollout.ref_logp_BT), 0.3 * expected)


def test_the_coefficient_follows_its_target(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2)
    measured = float(np.mean(k3(rollout.logp_BT, rollout.ref_logp_BT)[rollout.mask_BT].numpy()))
    for target, error in (
        (measured * 0.95, measured / (measured * 0.95) - 1),
        (measured / 9, 0.2),
        (measured * 9, -0.2),
    ):
        kl = Kl(0.1, target=target, horizon=40)
        told = kl.steer(rollout, stepped=True)
        assert told == {"policy/kl_ref": pytest.approx(measured), "policy/kl_coef": 0.1}
        assert kl.coef == pytest.approx(0.1 * (1 + error * 4 / 40))
        other = Kl(0.1, target=target)
        other.load(kl.state())
        assert other.coef == kl.coef


def test_a_batch_without_a_step_or_a_measure_leaves_the_coefficient(make_rollout: Callable[..., Rollout]) -> None:
    rollout, kl = make_rollout(2, 2), Kl(0.1, target=1e-3, horizon=40)
    assert kl.steer(rollout, stepped=False)["policy/kl_ref"] > 0
    assert np.isnan(kl.steer(rollout.updated(mask_BT=torch.zeros_like(rollout.mask_BT)), stepped=True)["policy/kl_ref"])
    kl.steer(rollout.updated(logp_BT=torch.full_like(rollout.logp_BT, torch.nan)), stepped=True)
    assert kl.coef == 0.1


def test_off_says_nothing(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(1, 2)
    off = Kl()
    assert off.steer(rollout, stepped=True) == {} and off.reference(None, rollout) is rollout.logp_BT
    assert (off.penalty(rollout, rollout.ref_logp_BT) == 0).all() and not off.on


@pytest.mark.parametrize(
    "wrong",
    [
        {"coef": -1.0},
        {"target": 0.1},
        {"coef": 0.1, "target": 0.0},
        {"estimator": "k4"},
        {"where": "z"},
        {"horizon": 0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match="method.kl"):
        Kl(**wrong)
