"""KL to the policy that rewarding starts from (reading R15): the reference, the estimate and its coefficient."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from umed.engine.engine import Engine
from umed.errors import InputError, check_choice, check_number, check_positive
from umed.models.contexts import trained_weights, with_weights
from umed.models.policy import Policy
from umed.rollout import Rollout, TrainingBatch


def k1(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """log pi - log pi_ref: unbiased, of either sign."""
    return logp - ref_logp


def k2(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """(log pi - log pi_ref)^2 / 2: its gradient is that of the KL divergence where the policy has sampled."""
    return (logp - ref_logp).square() / 2


def k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """r - 1 - log r with r = pi_ref / pi: unbiased and never negative."""
    log_ratio = ref_logp - logp
    return log_ratio.exp() - 1 - log_ratio


ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}


class Kl:
    """A penalty on leaving the policy that rewarding starts from; with `coef=0` there is no reference at all.

    Args:
        coef: of the penalty.
        estimator: `k1`, `k2` or `k3`.
        where: `reward` subtracts it from each token's reward, equation (14); `loss` adds it to the loss (16).
        target: nats a token that the coefficient is steered to (Ziegler et al. 2019), None = it stays.
        horizon: answers over which it follows.
    """

    def __init__(
        self,
        coef: float = 0.0,
        estimator: Literal["k1", "k2", "k3"] = "k3",
        where: Literal["reward", "loss"] = "reward",
        target: float | None = None,
        horizon: int = 10_000,
    ) -> None:
        check_positive("method.kl.horizon", horizon)
        self.estimator = check_choice("method.kl.estimator", estimator, *ESTIMATORS)
        self.where = check_choice("method.kl.where", where, "reward", "loss")
        check_number("method.kl.coef", 0.0 if coef is None else coef, at_least=0)
        check_number("method.kl.target", target, above=0)
        if coef is None or (target is not None and coef == 0):
            raise InputError(
                f"method.kl: coef={coef}, target={target}: give a coefficient above 0, and a target above 0 or null"
            )
        self.on, self.coef, self.target, self.horizon = coef > 0, coef, target, horizon
        self.estimate = ESTIMATORS[estimator]
        self.weights: dict[str, Tensor] = {}  # of the reference

    def remember(self, policy: Policy) -> None:
        """Take the policy as it is now for the reference; a copy of its trained weights only."""
        if self.on and not self.weights:
            body = {id(p) for p in policy.body()}
            names = {n for n, p in policy.named_parameters() if id(p) in body}
            self.weights = {n: w for n, w in trained_weights(policy).items() if n in names}

    def reference(self, engine: Engine, rollout: Rollout) -> Tensor:
        """log pi_ref of the sampled answers, (B, T); without a penalty those of the policy itself."""
        if not self.on:
            return rollout.logp_BT
        with with_weights(engine.policy, self.weights):
            return engine.score(rollout.prompts, rollout.ids_BT, rollout.mask_BT, values=False).logp_BT

    def penalty(self, rollout: Rollout, ref_logp_BT: Tensor) -> Tensor:
        """What is subtracted from each token's reward, (B, T)."""
        penalty = self.coef * self.estimate(rollout.logp_BT, ref_logp_BT)
        return penalty * rollout.mask_BT * (self.where == "reward")

    def loss(self, logp_BT: Tensor, ref_logp_BT: Tensor) -> Tensor:
        """What is added to the loss of each token, differentiable; 0 where the penalty is in the reward.

        The value of `k1` has no useful gradient, since the mean of grad log pi is 0: it takes that of `k2`.
        """
        if self.where != "loss" or not self.on:
            return torch.zeros_like(logp_BT)
        value = self.estimate(logp_BT, ref_logp_BT)
        if self.estimator == "k1":
            through = k2(logp_BT, ref_logp_BT)
            value = through + (value - through).detach()
        return self.coef * value

    def steer(self, batch: TrainingBatch, stepped: bool) -> dict[str, float]:
        """Move the coefficient towards the target after a batch that took a step; the KL and the coefficient before."""
        if not self.on:
            return {}
        each, mask = torch.stack([k3(batch.logp_BT, batch.ref_logp_BT), batch.mask_BT.float()]).cpu()
        measured = float(each[mask > 0].mean())
        metrics = {"policy/kl_ref": measured, "policy/kl_coef": self.coef}
        if self.target is not None and stepped and math.isfinite(measured):
            error = min(max(measured / self.target - 1, -0.2), 0.2)
            self.coef *= 1 + error * len(batch.mask_BT) / self.horizon
        return metrics

    def state(self) -> dict[str, Any]:
        return {"coef": self.coef}

    def load(self, state: dict[str, Any]) -> None:
        self.coef = state["coef"]
